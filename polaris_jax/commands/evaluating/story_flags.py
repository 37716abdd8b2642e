"""Flags of the stories: files of generations, or checkpoints that write them first."""

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polaris_jax import storage
from polaris_jax.commands.flag_types import folder_to_write, whole
from polaris_jax.commands.sampler_flags import add_sampler_flags, sampler_options
from polaris_jax.errors import InputError
from polaris_jax.options import AT_LEAST_1

if TYPE_CHECKING:
    from polaris_jax.evals.documents import Document
    from polaris_jax.evals.generations import Generation
    from polaris_jax.evals.jsonl import BadRecord
    from polaris_jax.evals.prompts import Prompt

WAYS = ("chat", "continue", "book")


def add_out_flag(parser: argparse.ArgumentParser) -> None:
    """``--out``, the folder of a benchmark's results."""
    parser.add_argument(
        "--out",
        type=folder_to_write,
        required=True,
        metavar="DIR",
        help="one folder per benchmark, local or gs://; the same command continues there",
    )


def add_story_flags(parser: argparse.ArgumentParser, prompts: str) -> None:
    """``--out``, ``--generations``, ``--checkpoint`` and how it writes; ``prompts`` is the default packaged set."""
    add_out_flag(parser)
    parser.add_argument(
        "--generations", action="append", default=[], metavar="[NAME=]FILE", help="JSONL of stories; may be repeated"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="training run or Hugging Face folder that writes stories first; may be repeated",
    )
    parser.add_argument(
        "--prompts",
        metavar="FILE_OR_SET",
        help=f"what to write about, and checklists (default for checkpoints: our small set {prompts})",
    )
    parser.add_argument("--domain", help="only prompts whose domain1 begins with this (WritingBench D4: Literature)")
    parser.add_argument("--language", help="only prompts whose lang is this")
    parser.add_argument(
        "--limit",
        type=whole(AT_LEAST_1),
        metavar="N",
        help="only the first N prompts, and the first N stories of a model",
    )
    parser.add_argument(
        "--write-as",
        choices=WAYS,
        default="chat",
        help="how a checkpoint writes: as a chat model, by continuing the prompt, or as a book in stages",
    )
    parser.add_argument("--max-tokens", type=int, default=8192, help="most tokens of a story, with --checkpoint")
    parser.add_argument("--temperature", type=float, default=0.8, help="with --checkpoint")
    parser.add_argument("--top-p", type=float, default=0.95, help="with --checkpoint")
    parser.add_argument("--repetition-penalty", type=float, default=1.1, help="with --checkpoint")
    parser.add_argument("--slots", type=int, default=4, help="stories written at the same time")
    parser.add_argument("--seed", type=int, default=0, help="seed of the stories and of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print the evaluation as JSON")
    add_sampler_flags(parser)
    parser.set_defaults(packaged_prompts=prompts)


def split_name(text: str) -> tuple[str | None, str]:
    """Splits ``NAME=ADDRESS``; the name is None if it is missing."""
    name, equals, address = text.partition("=")
    return (name, address) if equals and name and "/" not in name else (None, text)


def gather_stories(arguments: argparse.Namespace, out: str) -> "tuple[list[Generation], list[BadRecord]]":
    """All stories, and the bad lines; checkpoints first write theirs into ``out/generations``.

    Raises:
      InputError: no stories, two models with one name, or a file or checkpoint that cannot be used.
    """
    from polaris_jax.evals.prompts import join_prompts

    found, prompts, bad = _read(arguments)
    placement = sampler_options(arguments)
    for text in arguments.checkpoint:
        name, folder = split_name(text)
        found += _write(arguments, name or storage.name_of(folder), folder, prompts, out, placement)
    return join_prompts(_once(found), prompts), bad


def planned_stories(arguments: argparse.Namespace) -> "list[Generation]":
    """The stories that ``gather_stories`` would give, for a forecast. A story that a checkpoint has not written yet is
    replaced by filler of the requested length, else of ``--max-tokens``. Writes nothing.

    Raises:
      InputError: as ``gather_stories``.
    """
    from polaris_jax.evals.generations import Generation
    from polaris_jax.evals.prompts import join_prompts

    found, prompts, _ = _read(arguments)
    for text in arguments.checkpoint:
        name, folder = split_name(text)
        model = name or storage.name_of(folder)
        for one in prompts:
            story = "lorem " * (one.target_words or int(arguments.max_tokens / 1.3))
            found.append(Generation(one.id, one.text, story, one.target_words, model))
    return join_prompts(_once(found), prompts)


def _read(arguments: argparse.Namespace) -> "tuple[list[Generation], list[Prompt], list[BadRecord]]":
    """The stories of files, the prompts, and the bad lines, which are printed."""
    from polaris_jax.evals.generations import read_generations
    from polaris_jax.evals.prompts import read_prompts

    if not arguments.generations and not arguments.checkpoint:
        raise InputError("--generations", None, "give stories, or a --checkpoint that writes them")
    prompts: list[Prompt] = []
    bad: list[BadRecord] = []
    if arguments.prompts or arguments.checkpoint:
        prompts, bad = read_prompts(
            arguments.prompts or arguments.packaged_prompts, domain=arguments.domain, language=arguments.language
        )
        prompts = prompts[: arguments.limit]
    found: list[Generation] = []
    for text in arguments.generations:
        name, file = split_name(text)
        some, wrong = read_generations(file, name)
        found, bad = found + some[: arguments.limit], bad + wrong
    for line in bad:
        print(f"left out {line}", file=sys.stderr)
    return found, prompts, bad


def _once(found: "list[Generation]") -> "list[Generation]":
    """Returns ``found`` if no model has two stories on one prompt, else raises ``InputError``."""
    seen: set[tuple[str, str]] = set()
    for one in found:
        if (one.model, one.id) in seen:
            raise InputError("--generations", one.model, f"has two stories for id {one.id}; name the files: NAME=FILE")
        seen.add((one.model, one.id))
    return found


def prompt_facts(arguments: argparse.Namespace) -> dict[str, str]:
    """The source of the prompts, for a report; {} if the stories have their own."""
    from polaris_jax.evals.prompts import packaged_sets, published_layout

    source = arguments.prompts or (arguments.packaged_prompts if arguments.checkpoint else None)
    if source is None:
        return {}
    if source in packaged_sets():
        return {"prompts": f"our small set {source}"}
    layout, digest = published_layout(source), hashlib.sha256(storage.read(source) or b"").hexdigest()[:16]
    kind = f"official prompts of {layout}, from" if layout else "prompts of"
    return {"prompts": f"{kind} {storage.name_of(source)} (SHA-256 {digest})"}


def write_report(arguments: argparse.Namespace, document: "Document", out: str, stopped: Sequence[str] = ()) -> int:
    """Writes document and page; prints the first table and the page's address, or the JSON; returns the exit code."""
    from polaris_jax.evals.documents import Table, markdown, write_document
    from polaris_jax.report import write_evaluation

    data = write_document(document, out)
    page = write_evaluation(out)
    if arguments.json:
        print((storage.read(data) or b"").decode())
    else:
        first = next((part for section in document.sections for part in section.parts if isinstance(part, Table)), None)
        if first is not None:
            print(markdown(first))
        print(page)
    for reason in stopped:
        print(f"stopped early: {reason}; run the same command again to continue", file=sys.stderr)
    return 1 if stopped else 0


def _write(
    arguments: argparse.Namespace,
    name: str,
    folder: str,
    prompts: "Sequence[Prompt]",
    out: str,
    placement: Mapping[str, Any],
) -> "list[Generation]":
    from polaris_jax.commands.evaluating.writing import WritingOptions, write_stories

    options = WritingOptions(
        arguments.write_as,
        arguments.max_tokens,
        arguments.temperature,
        arguments.top_p,
        arguments.repetition_penalty,
        arguments.seed,
        arguments.slots,
        placement,
    )
    return write_stories(folder, prompts, storage.join(out, "generations", f"{name}.jsonl"), name, options)
