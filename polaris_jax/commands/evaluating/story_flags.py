"""Where stories come from: files of generations, or checkpoints that write them now."""

import argparse
import sys
from collections.abc import Sequence

from polaris_jax import storage
from polaris_jax.commands.sampler_flags import add_sampler_flags, sampler_options
from polaris_jax.errors import InputError

WAYS = ("chat", "continue", "book")


def add_story_flags(parser: argparse.ArgumentParser, prompts: str) -> None:
    """``--generations``, ``--checkpoint`` and how it writes; ``prompts`` is the packaged set used by default."""
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="one folder per benchmark, local or gs://; the same command goes on there")
    parser.add_argument("--generations", action="append", default=[], metavar="[NAME=]FILE",
                        help="JSONL of stories; may be repeated")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="[NAME=]DIR",
                        help="training run or Hugging Face folder that writes stories first; may be repeated")
    parser.add_argument("--prompts", metavar="FILE_OR_SET",
                        help=f"what to write about, and checklists (default for checkpoints: our small set {prompts})")
    parser.add_argument("--domain", help="only prompts whose domain1 begins so (WritingBench D4: Literature)")
    parser.add_argument("--language", help="only prompts in this lang")
    parser.add_argument("--write-as", choices=WAYS, default="chat",
                        help="how a checkpoint writes: as a chat model, by going on, or as a book in stages")
    parser.add_argument("--max-tokens", type=int, default=8192, help="of a story, with --checkpoint")
    parser.add_argument("--temperature", type=float, default=0.8, help="with --checkpoint")
    parser.add_argument("--top-p", type=float, default=0.95, help="with --checkpoint")
    parser.add_argument("--repetition-penalty", type=float, default=1.1, help="with --checkpoint")
    parser.add_argument("--slots", type=int, default=4, help="stories written at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of the stories and of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print the evaluation as JSON")
    add_sampler_flags(parser)
    parser.set_defaults(packaged_prompts=prompts)


def named(text: str) -> tuple[str | None, str]:
    """``NAME=PLACE`` in its two parts; no name without one."""
    name, equals, place = text.partition("=")
    return (name, place) if equals and name and "/" not in name else (None, text)


def stories(arguments: argparse.Namespace, out: str) -> tuple[list, list]:
    """All stories, and the lines that were none; checkpoints write theirs into ``out/generations`` first.

    Raises:
      InputError: no stories, two models of one name, or a file or checkpoint that cannot be used.
    """
    from polaris_jax.evals.generations import read_generations
    from polaris_jax.evals.prompts import join_prompts, read_prompts

    if not arguments.generations and not arguments.checkpoint:
        raise InputError("--generations", None, "give stories, or a --checkpoint that writes them")
    prompts, bad = [], []
    if arguments.prompts or arguments.checkpoint:
        prompts, bad = read_prompts(arguments.prompts or arguments.packaged_prompts, domain=arguments.domain,
                                    language=arguments.language)  # fmt: skip
    found = []
    for text in arguments.generations:
        name, file = named(text)
        some, wrong = read_generations(file, name)
        found, bad = found + some, bad + wrong
    placement = sampler_options(arguments)
    for text in arguments.checkpoint:
        name, folder = named(text)
        found += _write(arguments, name or storage.name_of(folder), folder, prompts, out, placement)
    seen = set()
    for one in found:
        if (one.model, one.id) in seen:
            raise InputError("--generations", one.model, f"has two stories for id {one.id}; name the files: NAME=FILE")
        seen.add((one.model, one.id))
    for line in bad:
        print(f"left out {line}", file=sys.stderr)
    return join_prompts(found, prompts), bad


def finish(arguments: argparse.Namespace, document, out: str, stopped: Sequence[str] = ()) -> int:
    """Writes document and page, prints where (or the JSON); the exit code."""
    from polaris_jax.evals.document import Table, markdown, write_document
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
        print(f"stopped early: {reason}; run the same command again to go on", file=sys.stderr)
    return 1 if stopped else 0


def _write(arguments: argparse.Namespace, name: str, folder: str, prompts: Sequence, out: str, placement) -> list:
    from polaris_jax.commands.evaluating.writing import Writing, write_stories

    how = Writing(
        arguments.write_as, arguments.max_tokens, arguments.temperature, arguments.top_p,
        arguments.repetition_penalty, arguments.seed, arguments.slots, placement,
    )  # fmt: skip
    return write_stories(folder, prompts, storage.join(out, "generations", f"{name}.jsonl"), name, how)
