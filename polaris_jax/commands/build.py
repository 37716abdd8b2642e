"""``polaris build``: novels → trajectory store, locally or on Apache Beam; or rows and texts as they are.

Flags override a config file. A progress bar is shown during the build; the report is a page or JSON.
"""

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from polaris_jax.commands import build_data, reading_flags
from polaris_jax.commands.client_flags import CLIENT, NAMED, client_spec, numbers, plan_judge, refuse
from polaris_jax.commands.client_flags import add_flags as add_field_flags
from polaris_jax.commands.flag_types import folder_to_write, whole
from polaris_jax.commands.reading_flags import READING
from polaris_jax.errors import InputError
from polaris_jax.options import AT_LEAST_1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from polaris_jax.corpus import BatchRound, BookForecast, Build, BuildOptions
    from polaris_jax.llm import ClientSpec
    from polaris_jax.scaffold import AnnotatorSpec, EntailmentSpec

_OPTIONS = {  # BuildOptions fields with their own flag: type, text in --help
    "window": (int, "most tokens per trajectory (0: no limit; default 262144 full, 32768 first_chapter, 8192 mini)"),
    "prompts": (int, "how many of a book's four prompts get a trajectory (default 1)"),
    "per_book": (int, "most mini volumes per novel, evenly spread (default 0: all)"),
    "min_words": (int, "novels with fewer words of narrative are rejected (default 25000; mini 2000)"),
    "max_words": (int, "novels with more words are rejected (default 450000; mini 700000)"),
    "least_chapters": (float, "share of a book's chapters that must fit the window (default 0.6)"),
    "max_fallback": (float, "share of annotated fields that may fall back to the offline annotator (default 0.05)"),
    "min_plan_score": (float, "leave out books whose plan is judged worse than this, 0-100 (default 0: none)"),
    "similarity": (float, "two books at least this similar are one work (default 0.7)"),
    "seed": (int, "seed of the split by author (default 0)"),
}
_ANNOTATOR = {
    "samples": (int, "samples per scene vector (default 4)"),
    "context_tokens": (int, "the model's context window (default 8192); from 32768 on it is asked far fewer questions"),
    "thinking_tokens": (int, "tokens for the model's thinking, added to those for each answer (default 0)"),
    "stop_after": (int, "stop if none of the first calls, this many, gives a usable answer (default 16)"),
}
_PLACES = (
    "books",
    "out",
    "tokenizer",
    "work",
    "runner",
    "workers",
    "transcripts",
    "annotator",
    "plan_judge",
    "profile",
    "split",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags. No flag has a default, so that values of a config file are used where a flag is missing."""
    parser.add_argument("--config", metavar="FILE", help="a Python file: get_config() has these options; flags win")
    parser.add_argument("--books", nargs="+", metavar="PATH_OR_GLOB", help="novels, folders or globs, local or gs://")
    build_data.add_flags(parser)
    parser.add_argument("--tokenizer", help="folder with tokenizer.json or a SentencePiece model")
    parser.add_argument("--out", type=folder_to_write, help="store folder, local or gs://")
    parser.add_argument("--work", type=folder_to_write, help="where finished books are kept (default: OUT.work)")
    parser.add_argument(
        "--profile",
        choices=("full", "mini", "first_chapter"),
        help="whole books | small volumes (default) | plan and first chapter",
    )
    parser.add_argument("--split", help="train/validation/test as shares of authors (default 90/5/5)")
    parser.add_argument(
        "--annotator",
        choices=("offline", "openai", "gemini", "replay"),
        help="writes the plans: offline (default), or a model",
    )
    parser.add_argument(
        "--plan-judge",
        metavar="JUDGE",
        help="a model that also judges whether the prose supports the plans: nli:FOLDER (a classifier of natural "
        f"language inference), or {NAMED}; default: words are compared",
    )
    parser.add_argument(
        "--runner",
        help="local, or an Apache Beam runner; further flags go to it (default: DirectRunner if Beam is installed)",
    )
    parser.add_argument(
        "--workers",
        type=whole(AT_LEAST_1),
        help="books at once, with --runner=local (default: one per core)",
    )
    parser.add_argument(
        "--transcripts", type=folder_to_write, metavar="DIR", help="also write every trajectory as text"
    )
    kind, text = _OPTIONS["prompts"]
    parser.add_argument("--prompts-per-book", dest="prompts", type=kind, help=text)
    add_field_flags(parser, {n: field for n, field in _OPTIONS.items() if n != "prompts"} | CLIENT | _ANNOTATOR)
    reading_flags.add_flags(parser)
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print the cost of a model's plans and of judging them (calls, tokens, dollars) and stop; asks no model",
    )
    parser.add_argument(
        "--batch",
        type=folder_to_write,
        metavar="DIR",
        help="ask the annotator through the provider's batches: writes DIR/round-1.jsonl and stops; put the provider's "
        "output files beside it and run again, until the store is built (--plan-judge is then asked directly)",
    )
    parser.add_argument("--json", action="store_true", help="print the build report as JSON")
    parser.set_defaults(takes_config=True, takes_unknown=True)  # a Beam runner has its own flags


def run(arguments: argparse.Namespace) -> int:
    """Builds the library; returns 0, or 1 if a book failed or was left unfinished.

    Raises:
      InputError: a flag or a config field is wrong, or nothing could be built.
    """
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.corpus import build_library, find_novels, forecast_library, new_job, next_round
    from polaris_jax.data import load_tokenizer
    from polaris_jax.report.build_report import write_build_report

    values = _values(arguments)
    if values.get("data"):
        return build_data.run(values, arguments)
    refuse(values, build_data.FLAGS, "is for --data")
    if values.get("workers") is not None and values["workers"] < 1:  # from a config file; the flag checks its own bound
        raise InputError("config.workers", values["workers"], AT_LEAST_1.advice)
    for name in ("books", "out", "tokenizer"):
        if not values.get(name):
            raise InputError(f"--{name}", values.get(name), "is needed, as a flag or in the config file")
    options = _options(values)
    out = str(values["out"]).rstrip("/")
    work = str(values.get("work") or f"{out}.work")
    annotator, judge = _annotator(values, work), _judge(values, work)
    books = [values["books"]] if isinstance(values["books"], str) else values["books"]
    novels, tokenizer = find_novels(books), load_tokenizer(values["tokenizer"])
    console = Console(stderr=True)
    asked = [client for client in (annotator.client, judge.client) if client is not None]
    if arguments.estimate and not asked:
        raise InputError("--estimate", "", "the offline annotator costs nothing: give --annotator and --model")
    if arguments.batch and (annotator.client is None or annotator.client.provider != "openai"):
        raise InputError("--batch", arguments.batch, "batch files are made for --annotator=openai")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        if arguments.estimate:
            job, addresses = new_job(novels, out, tokenizer, options, annotator, judge=judge, work=work)
            forecasts = forecast_library(job, addresses, tokenizer, progress)
            bar.stop()
            return _print_estimate(forecasts, asked, arguments.json)
        if arguments.batch:
            job, addresses = new_job(novels, out, tokenizer, options, annotator, judge=judge, work=work)
            made = next_round(job, addresses, tokenizer, arguments.batch, progress)
            if made.open:
                bar.stop()
                return _print_round(made, arguments.json)
        # Beam warns about many things that are correct; real errors are raised.
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        build = build_library(
            novels,
            out,
            tokenizer,
            options,
            annotator,
            judge=judge,
            work=work,
            beam_options=arguments.unknown,
            runner=values.get("runner") or _default_runner(console),
            workers=values.get("workers"),
            transcripts=values.get("transcripts"),
            progress=progress,
        )
    page = write_build_report(build, out, work)
    for row in build.report["books"]:
        for warning in (row["account"] or {}).get("warnings", ()) if row["accepted"] else ():
            print(f"warning: {row['file']}: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(build.report | {"run": build.run}, ensure_ascii=False))
    else:
        _print(build, out, page)
    return 1 if build.run["errors"] or build.run["unfinished"] else 0


def _values(arguments: argparse.Namespace) -> dict:
    """The values of the config file, overridden by those of the flags."""
    values: dict = {}
    if arguments.config:
        from polaris_jax.training.config import load_config

        values = dict(load_config(arguments.config, arguments.overrides).items())
        known = {
            *_PLACES,
            "data",
            *build_data.FLAGS,
            *_OPTIONS,
            *READING,
            *CLIENT,
            *_ANNOTATOR,
            "chapters",
            "chapter_words",
        }
        for name in values:
            if name not in known:
                raise InputError("config", name, f"no such option; the options are {', '.join(sorted(known))}")
    elif arguments.overrides:
        raise InputError("--config", arguments.overrides[0], "overrides need --config=FILE")
    more = ("data", *build_data.FLAGS)
    flags = {name: getattr(arguments, name) for name in (*_PLACES, *more, *_OPTIONS, *READING, *CLIENT, *_ANNOTATOR)}
    return values | {name: value for name, value in flags.items() if value is not None}


def _options(values: dict) -> "BuildOptions":
    from polaris_jax.corpus import BuildOptions

    chosen = {
        name: values[name]
        for name in (*_OPTIONS, "profile", "chapters", "chapter_words")
        if values.get(name) is not None
    }
    chosen |= {name: reading_flags.as_tuple(values.get(name)) for name in READING}
    if values.get("split") is not None:
        chosen["shares"] = numbers("--split", values["split"], "/", "three sizes such as 90/5/5")
    return BuildOptions.of(chosen)


def _annotator(values: dict, work: str) -> "AnnotatorSpec":
    from polaris_jax.scaffold import AnnotatorSpec

    provider = values.get("annotator") or "offline"
    if provider == "offline":
        refuse(values, (*CLIENT, *_ANNOTATOR), "is for a model: --annotator=openai|gemini|replay")
        return AnnotatorSpec()
    own = {name: values[name] for name in _ANNOTATOR if values.get(name) is not None}
    return AnnotatorSpec("llm", client_spec(provider, values, f"{work}/replies"), **own)


def _judge(values: dict, work: str) -> "EntailmentSpec":
    from polaris_jax.scaffold import EntailmentSpec

    named = str(values.get("plan_judge") or "")
    return plan_judge("--plan-judge", named, f"{work}/replies") if named else EntailmentSpec()


def _default_runner(console: "Console") -> str:
    import importlib.util

    if importlib.util.find_spec("apache_beam") is not None:
        return "DirectRunner"
    console.print("Apache Beam is not installed: building with --runner=local, which gives the same store")
    return "local"


def _print_estimate(books: "Sequence[BookForecast]", asked: "Sequence[ClientSpec]", as_json: bool) -> int:
    from polaris_jax.corpus import totals
    from polaris_jax.llm.forecast import duration, hours
    from polaris_jax.prices import read_prices

    total, models = totals(books), ", ".join(client.identity for client in asked)
    time = hours(total["calls"], total["answer_tokens"], min(client.concurrency for client in asked))
    listed = any(client.known_prices is not None and client.prices is None for client in asked)
    dated = read_prices().dates.get("models") if listed else None
    if as_json:
        prices = {client.identity: client.known_prices for client in asked}
        said = {"models": prices, "prices_date": dated, "total": total | {"hours": time}}
        print(json.dumps(said | {"books": [dataclasses.asdict(book) for book in books]}, ensure_ascii=False))
        return 0
    for book in books:
        cost = "" if book.usd is None else f", ${book.usd:,.2f}"
        prompt = f"{book.prompt_tokens:,} ({book.cached_tokens:,} cached)"
        tokens = f"{book.calls:,} calls, {prompt} + {book.answer_tokens:,} tokens{cost}"
        print(f"  {book.file}: {book.reason or tokens}")
    if total["usd"] is not None:
        known = f"prices of {dated}" if dated else "at the given prices"
        money = f"${total['usd']:,.2f} ({known}, standard tier)"
    else:
        unknown = ", ".join(client.identity for client in asked if client.known_prices is None)
        money = f"no price is known for {unknown}: give --prices=IN,OUT"
    judged = f" ({total['judge_calls']:,} of the judge)" if total["judge_calls"] else ""
    print(
        f"{models}: {total['books']} books ({total['left_out']} left out), {total['calls']:,} calls{judged}, "
        f"{total['prompt_tokens']:,} prompt tokens ({total['cached_tokens']:,} from the provider's prompt cache) and "
        f"{total['answer_tokens']:,} answer tokens, about {duration(time)}; {money}"
    )
    print("Counted on the questions themselves, at 3.5 characters per token, without corrections and retries.")
    return 0


def _print_round(made: "BatchRound", as_json: bool) -> int:
    if as_json:
        print(json.dumps(dataclasses.asdict(made)))
        return 0
    for file in made.files:
        print(file)
    if made.waiting:
        print(f"{made.waiting:,} questions of earlier rounds have no answer yet: put the provider's output files here")
    if made.files:
        print(f"{made.asked:,} questions for {made.open} books: upload, put the outputs beside them, and run again")
    return 0


def _print(build: "Build", out: str, page: str) -> None:
    report, run = build.report, build.run
    rows = report["books"]
    left_out = [row for row in rows if not row["accepted"]]
    print(
        f"{len(report['trajectories'])} trajectories of {len(rows) - len(left_out)} books, {report['tokens']:,} "
        f"tokens in {out} ({report['content_hash'][:12]}); {run['planned_now']} books planned now, "
        f"{run['found_planned']} found planned, {run['seconds']:.0f} s"
    )
    for row in left_out:
        print(f"  {row['status']} {row['file']}: {row['reason']}")
    print(page if "://" in page else Path(page))
