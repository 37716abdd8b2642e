"""``polaris build``: novels → trajectory store, as an Apache Beam pipeline.

Flags win over a config file; a progress bar while it runs; the report as a page or as JSON.
"""

import argparse
import json
import logging
from pathlib import Path

from polaris_jax.commands.client_flags import CLIENT, client_spec, numbers, refuse
from polaris_jax.commands.client_flags import add_flags as add_field_flags
from polaris_jax.errors import InputError

_OPTIONS = {  # BuildOptions fields with a flag of their own: type, what it says in --help
    "window": (int, "most tokens per trajectory (0: no limit; default 262144 full, 32768 first_chapter, 8192 mini)"),
    "prompts": (int, "how many of a book's four prompts get a trajectory (default 1)"),
    "per_book": (int, "most mini volumes per novel, evenly spread (default 0: all)"),
    "min_words": (int, "fewer words of narrative are rejected (default 25000; mini 2000)"),
    "max_words": (int, "more words are rejected (default 450000; mini 700000)"),
    "least_chapters": (float, "share of a book's chapters that must fit the window (default 0.6)"),
    "max_fallback": (float, "most annotated fields that may fall back to the offline annotator (default 0.05)"),
    "similarity": (float, "two books this alike are one work (default 0.7)"),
    "seed": (int, "of the split by author (default 0)"),
}
_ANNOTATOR = {"samples": (int, "draws per scene vector (default 4)"),
              "context_tokens": (int, "the model's context window (default 8192)")}
_PLACES = ("books", "out", "tokenizer", "work", "runner", "workers", "transcripts", "annotator", "profile", "split")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags. No flag has a default, so that a config file can tell what was left out."""
    parser.add_argument("--config", metavar="FILE", help="a Python file: get_config() has these options; flags win")
    parser.add_argument("--books", nargs="+", metavar="PATH_OR_GLOB", help="novels, folders or globs, local or gs://")
    parser.add_argument("--tokenizer", help="folder with tokenizer.json or a SentencePiece model")
    parser.add_argument("--out", help="store folder, local or gs://")
    parser.add_argument("--work", help="where finished books are kept (default: OUT.work)")
    parser.add_argument("--profile", choices=("full", "mini", "first_chapter"),
                        help="whole books | small volumes (default) | plan and first chapter")
    parser.add_argument("--split", help="train/validation/test as shares of authors (default 90/5/5)")
    parser.add_argument("--annotator", choices=("offline", "openai", "gemini", "replay"), help="who plans (offline)")
    parser.add_argument("--runner", help="local, or an Apache Beam runner; further flags go to it (default: "
                                         "DirectRunner if Beam is installed)")
    parser.add_argument("--workers", type=int, help="books at once, with --runner=local (default: one per core)")
    parser.add_argument("--transcripts", metavar="DIR", help="also write every trajectory as text")
    kind, text = _OPTIONS["prompts"]
    parser.add_argument("--prompts-per-book", dest="prompts", type=kind, help=text)
    add_field_flags(parser, {n: field for n, field in _OPTIONS.items() if n != "prompts"} | CLIENT | _ANNOTATOR)
    parser.add_argument("--json", action="store_true", help="print the build report as JSON")
    parser.set_defaults(takes_config=True, takes_unknown=True)  # a Beam runner has flags of its own


def run(arguments: argparse.Namespace) -> int:
    """Builds the library; returns 0, or 1 when something broke or was left unfinished.

    Raises:
      InputError: a flag or a config field is wrong, or nothing could be built.
    """
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.corpus import build_library, find_novels
    from polaris_jax.data import load_tokenizer
    from polaris_jax.report.build_report import write_build_report

    values = _values(arguments)
    for name in ("books", "out", "tokenizer"):
        if not values.get(name):
            raise InputError(f"--{name}", values.get(name), "is needed, as a flag or in the config file")
    options = _options(values)
    out = str(values["out"]).rstrip("/")
    work = str(values.get("work") or f"{out}.work")
    annotator = _annotator(values, work)
    books = [values["books"]] if isinstance(values["books"], str) else values["books"]
    novels, tokenizer = find_novels(books), load_tokenizer(values["tokenizer"])
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        # Beam warns about much that is as it should be; what goes wrong is raised.
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        build = build_library(
            novels, out, tokenizer, options, annotator, work=work, beam_options=arguments.unknown,
            runner=values.get("runner") or _default_runner(console), workers=values.get("workers"),
            transcripts=values.get("transcripts"), progress=progress,
        )  # fmt: skip
    page = write_build_report(build, out, work)
    if arguments.json:
        print(json.dumps(build.report | {"run": build.run}, ensure_ascii=False))
    else:
        _print(build, out, page)
    return 1 if build.run["errors"] or build.run["unfinished"] else 0


def _values(arguments: argparse.Namespace) -> dict:
    """Config file, then flags."""
    values: dict = {}
    if arguments.config:
        from polaris_jax.training.config import load_config

        values = dict(load_config(arguments.config, arguments.overrides).items())
        known = {*_PLACES, *_OPTIONS, *CLIENT, *_ANNOTATOR, "chapters", "chapter_words"}
        for name in values:
            if name not in known:
                raise InputError("config", name, f"no such option; the options are {', '.join(sorted(known))}")
    elif arguments.overrides:
        raise InputError("--config", arguments.overrides[0], "overrides need --config=FILE")
    flags = {name: getattr(arguments, name) for name in (*_PLACES, *_OPTIONS, *CLIENT, *_ANNOTATOR)}
    return values | {name: value for name, value in flags.items() if value is not None}


def _options(values: dict):
    from polaris_jax.corpus import BuildOptions

    chosen = {name: values[name] for name in (*_OPTIONS, "profile", "chapters", "chapter_words")
              if values.get(name) is not None}  # fmt: skip
    if values.get("split") is not None:
        chosen["shares"] = numbers("--split", values["split"], "/", "three sizes such as 90/5/5")
    return BuildOptions.of(chosen)


def _annotator(values: dict, work: str):
    from polaris_jax.scaffold import AnnotatorSpec

    provider = values.get("annotator") or "offline"
    if provider == "offline":
        refuse(values, (*CLIENT, *_ANNOTATOR), "is for a model: --annotator=openai|gemini|replay")
        return AnnotatorSpec()
    own = {name: values[name] for name in _ANNOTATOR if values.get(name) is not None}
    return AnnotatorSpec("llm", client_spec(provider, values, f"{work}/replies"), **own)


def _default_runner(console) -> str:
    import importlib.util

    if importlib.util.find_spec("apache_beam") is not None:
        return "DirectRunner"
    console.print("Apache Beam is not installed: building with --runner=local, which gives the same store")
    return "local"


def _print(build, out: str, page: str) -> None:
    report, run = build.report, build.run
    rows = report["books"]
    left_out = [row for row in rows if not row["accepted"]]
    print(f"{len(report['trajectories'])} trajectories of {len(rows) - len(left_out)} books, {report['tokens']:,} "
          f"tokens in {out} ({report['content_hash'][:12]}); {run['planned_now']} books planned now, "
          f"{run['found_planned']} found planned, {run['seconds']:.0f} s")  # fmt: skip
    for row in left_out:
        print(f"  {row['status']} {row['file']}: {row['reason']}")
    print(page if "://" in page else Path(page))
