"""``polaris build --data``: builds a token store from rows and manuscripts unchanged; the other half of ``build``."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from polaris_jax.commands.client_flags import numbers
from polaris_jax.errors import InputError

if TYPE_CHECKING:
    from polaris_jax.data import ChatTemplate, Tokenizer

_SHOWN = 20  # most rows that are printed, broken or left out; the report has all
FLAGS = ("learn", "chat_template", "no_chat", "join")
# Flags of ``build`` that also apply here.
SHARED = ("data", "out", "tokenizer", "window", "split", "seed")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that apply only to ``--data``."""
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="PATH",
        help="files or folders to train on unchanged: chats, instructions, completions, preference pairs, texts, "
        "manuscripts, trajectories (instead of --books)",
    )
    parser.add_argument(
        "--learn",
        choices=("assistant", "all"),
        help="with --data: learn only the assistant's turns (default), or prompts too",
    )
    parser.add_argument("--chat-template", metavar="FILE", help="with --data: used instead of the model's own")
    parser.add_argument(
        "--no-chat",
        action="store_true",
        default=None,
        help="with --data: join prompts and answers that are texts, instead of using the chat template",
    )
    parser.add_argument(
        "--join", action="store_true", default=None, help="with --data: the texts of a folder are one document"
    )


def run(values: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Builds the store; returns 0.

    Args:
      values: values of flags and config file.

    Raises:
      InputError: a flag is wrong or belongs to ``--books``, a row is broken, or nothing could be stored.
    """
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.corpus.data_build import BrokenRows, RowOptions, build_data
    from polaris_jax.data import load_tokenizer
    from polaris_jax.data.formats import find_files

    for name, value in values.items():
        if name not in (*SHARED, *FLAGS) and value not in (None, (), []):
            raise InputError(f"--{name.replace('_', '-')}", value, "is for --books; --data takes rows as they are")
    if arguments.estimate or arguments.unknown:
        wrong = "--estimate" if arguments.estimate else arguments.unknown[0]
        raise InputError(wrong, "", "is for --books; --data takes rows as they are")
    for name in ("out", "tokenizer"):
        if not values.get(name):
            raise InputError(f"--{name}", values.get(name), "is needed, as a flag or in the config file")
    chosen: dict[str, Any] = {
        name: values[name] for name in ("window", "learn", "seed") if values.get(name) is not None
    }
    if values.get("split") is not None:
        chosen["shares"] = numbers("--split", values["split"], "/", "three sizes such as 90/5/5")
    options = RowOptions(**chosen, chat=not values.get("no_chat"), join=bool(values.get("join")))
    places = [values["data"]] if isinstance(values["data"], str) else list(values["data"])
    model, out = str(values["tokenizer"]), str(values["out"]).rstrip("/")
    sources, ignored = find_files(places)
    tokenizer = load_tokenizer(model, stages=False)
    template = _template(model, tokenizer, values.get("chat_template"))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        try:
            report = build_data(sources, out, model, tokenizer, template, options, ignored=ignored, progress=progress)
        except BrokenRows as broken:
            bar.stop()
            for fault in broken.faults[1:_SHOWN]:
                print(f"polaris build: {fault}", file=sys.stderr)
            raise
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _print(report, out, template is not None)
    return 0


def _template(model: str, tokenizer: "Tokenizer", file: str | None) -> "ChatTemplate | None":
    """The chat template: the given file, else the model's own, else None."""
    import os

    from polaris_jax.data import load_chat_template

    folder = model if os.path.isdir(model) or "://" in model else os.path.dirname(model) or "."
    if file is not None:
        return load_chat_template(folder, tokenizer, file)
    try:
        return load_chat_template(folder, tokenizer)
    except InputError as error:
        if error.field != "model":  # the folder has a template, but it is broken
            raise
        return None


def _print(report: dict[str, Any], out: str, has_template: bool) -> None:
    splits = ", ".join(f"{name} {counts['trajectories']}" for name, counts in report["splits"].items())
    print(
        f"{report['trajectories']} trajectories, {report['tokens']:,} tokens, {report['learned']:,} of them learned, "
        f"in {out} ({report['content_hash'][:12]}); {splits}"
    )
    for file in report["files"]:
        print(f"  {file['file']}: {file['format']}, {file['rows']} rows, {file['learned']:,} tokens learned")
        if file["unused_fields"]:
            said = ", ".join(f"{name} ({count})" for name, count in sorted(file["unused_fields"].items()))
            print(f"    not trained on: {said}; kept in the store's metadata where short")
        for note, count in file["notes"].items():
            print(f"    {count} rows: {note}" if count > 1 else f"    {note}")
        for row in file["left_out"][:_SHOWN]:
            print(f"    left out: {row['where']} {row['reason']}")
        if len(file["left_out"]) > _SHOWN:
            print(f"    left out: {len(file['left_out']) - _SHOWN} more; build_report.json names them")
    if report["ignored_files"]:
        names = report["ignored_files"]
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        print(f"  not read, of no format by their names: {shown}")
    if not has_template:
        print("  the model has no chat template: prompts and answers are joined as texts")
