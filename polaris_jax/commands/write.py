"""``polaris write``: generate a book."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache
from polaris_jax.commands.sampler_flags import add_sampler_flags, sampler_options


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--checkpoint", "--model", required=True, help="training run or Hugging Face folder")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", help="what the book is to be about")
    prompt.add_argument("--prompt-file", metavar="FILE", help="the same from a file")
    parser.add_argument("--out", "--output-directory", dest="out", required=True, metavar="DIR",
                        help="the book's folder; the same command goes on with what is there")
    parser.add_argument("--profile", choices=("mini", "full", "first-chapter", "demo"), default="mini")
    parser.add_argument("--window", "--max-model-len", dest="window", type=int, metavar="N",
                        help="longest transcript in tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", metavar="FILE",
                        help="a transcript, or any beginning of one, to go on from in a new folder")

    book = parser.add_argument_group("how long (default: as the profile says)")
    book.add_argument("--chapters", type=_bounds, metavar="LOW-HIGH", help="chapters that the plan may have")
    book.add_argument("--chapter-words", type=_bounds, metavar="LOW-HIGH")
    book.add_argument("--later-chapters", "--later-chapter-limit", dest="later_chapters", type=int, metavar="K",
                      help="stop after the first chapter and K more")
    book.add_argument("--until", metavar="STAGE", help="stop after this stage, for example book_plan")
    book.add_argument("--cap", action="append", default=[], metavar="STAGE=TOKENS",
                      help="most tokens of a stage; may be repeated")

    draw = parser.add_argument_group("how it is drawn (default: as each stage asks for)")
    draw.add_argument("--temperature", type=float, help="replace every stage's own temperature")
    draw.add_argument("--top-k", type=int)
    draw.add_argument("--top-p", type=float, default=1.0)
    draw.add_argument("--min-p", type=float, default=0.0)
    draw.add_argument("--repetition-penalty", type=float, default=1.0, help="1.15 helps little-trained models")
    draw.add_argument("--attempts", type=int, default=3, help="tries of a step before its settings are relaxed")
    draw.add_argument("--extend-short", type=int, default=0, metavar="TIMES",
                      help="have a chapter that ends below 60%% of its words go on, so often")

    edit = parser.add_argument_group("by hand, in $VISUAL or $EDITOR; everything after the stage is written anew")
    which = edit.add_mutually_exclusive_group()
    which.add_argument("--edit-plan", dest="edit", action="store_const", const="book_plan",
                       help="stop at the plan, open it, go on with what it says then")
    which.add_argument("--edit", metavar="STAGE", help="the same for any stage, for example chapter_text:2")

    add_sampler_flags(parser)
    parser.add_argument("--stream", action="store_true", help="print the text as it is written")
    parser.add_argument("--json", action="store_true", help="print a summary that a program can read")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    out = storage.local("--out", a.out)
    placement = sampler_options(a)
    compilation_cache()
    from polaris_jax import flow
    from polaris_jax.commands.editor import edit_by_hand
    from polaris_jax.sampling import LiveProgress, StreamProgress, WriterSettings, WritingError, write_book

    settings = WriterSettings(
        temperature=a.temperature, top_k=a.top_k, top_p=a.top_p, min_p=a.min_p,
        repetition_penalty=a.repetition_penalty, attempts=a.attempts, extend_short=a.extend_short)
    prompt, profile = _prompt(a), _profile(a)
    sampler = flow.open_sampler(a.checkpoint, profile.window, within_positions=True, **placement)
    if a.start_from:
        _start_from(a.start_from, Path(out))

    def write(until):
        with StreamProgress() if a.stream else LiveProgress() as display:
            return write_book(sampler, prompt, profile, seed=a.seed, out_dir=out, settings=settings,
                              progress=display, until=until, later_chapters=a.later_chapters)

    try:
        if a.edit:
            edit_by_hand(Path(out), a.edit, write_it_first=write)
        book = write(a.until)
    except WritingError as error:
        print(f"polaris write: {error}; what is written so far is in {out}", file=sys.stderr)
        return 1
    _tell(book, a.json)
    fine = book.verdict.ok or (book.end == "until" and all(stage.ok for stage in book.verdict.stages))
    return 0 if fine else 1


def _prompt(a: argparse.Namespace) -> str:
    """The prompt of the flags, else of the transcript to start from."""
    from polaris_jax.errors import InputError
    from polaris_jax.trajectory import split_stages

    if a.prompt is not None:
        return a.prompt
    if a.prompt_file is not None:
        return _read(a.prompt_file, "--prompt-file")
    if a.start_from:
        stages = split_stages(_read(a.start_from, "--start-from"), partial=True)
        if stages and stages[0].role == "prompt":
            return stages[0].text
    raise InputError("--prompt", None, "say what the book is to be about")


def _profile(a: argparse.Namespace):
    """The profile, narrowed by the flags."""
    from polaris_jax.demo import demo_profile
    from polaris_jax.errors import InputError
    from polaris_jax.trajectory import FIRST_CHAPTER, FULL_BOOK, mini_profile

    bounds = {name: getattr(a, name) for name in ("chapters", "chapter_words") if getattr(a, name)}
    window = a.window or {"full": FULL_BOOK.window, "first-chapter": FIRST_CHAPTER.window, "demo": 2048}.get(
        a.profile, 8192)
    if window < 1:
        raise InputError("--window", window, "must be positive")
    match a.profile:
        case "mini":
            profile = mini_profile(window, **bounds)
        case "demo":
            profile = dataclasses.replace(demo_profile(window), **bounds)
        case other:
            profile = dataclasses.replace(FULL_BOOK if other == "full" else FIRST_CHAPTER, window=window, **bounds)
    caps = dict(profile.caps)
    for text in a.cap:
        role, _, tokens = text.partition("=")
        if role not in caps:
            raise InputError("--cap", text, f"use STAGE=TOKENS with a stage of: {', '.join(caps)}")
        if not tokens.isdecimal() or not int(tokens):
            raise InputError("--cap", text, "the number of tokens must be a positive whole number")
        caps[role] = int(tokens)
    return dataclasses.replace(profile, caps=caps)


def _bounds(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _read(file: str, flag: str) -> str:
    from polaris_jax.errors import InputError

    try:
        return Path(file).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(flag, file, f"cannot be read: {error}") from error


def _start_from(file: str, folder: Path) -> None:
    """Puts the transcript where the writer looks for it; a book that is there already goes on instead."""
    from polaris_jax.sampling.export import TRANSCRIPT, write_atomically

    if not (folder / TRANSCRIPT).exists():
        write_atomically(folder / TRANSCRIPT, _read(file, "--start-from").encode())


def _tell(book, as_json: bool) -> None:
    if not as_json:
        print(*book.files, sep="\n")
        return
    print(json.dumps({
        "end": book.end, "ok": book.verdict.ok, "violations": [str(one) for one in book.verdict.violations],
        "files": [str(file) for file in book.files], **book.totals,
    }))  # fmt: skip
