"""``polaris write``: generate a book."""

import argparse
import dataclasses
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache
from polaris_jax.commands.flag_types import folder_to_write, real, whole
from polaris_jax.commands.own_words import (
    MAX_PROMPT_BYTES,
    lines_of,
    outline_of,
    read_text,
    scripts_of_words,
    with_outline,
)
from polaris_jax.commands.sampler_flags import add_sampler_flags, sampler_options
from polaris_jax.options import AT_LEAST_1, NOT_NEGATIVE, POSITIVE, SHARE
from polaris_jax.trajectory.scripts import SCRIPTS

ENGINES = ("polaris", "vllm", "llama.cpp", "lmstudio", "openai", "chat", "completions")  # sampling.server.ENGINES
if TYPE_CHECKING:
    from polaris_jax.sampling import Sampler, WriterSettings, WrittenBook
    from polaris_jax.sampling.server import ServerModel
    from polaris_jax.trajectory import BookOutline, Profile


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument(
        "--checkpoint",
        "--model",
        dest="checkpoint",
        help="training run or Hugging Face folder; with --server, the model's name there",
    )
    server = parser.add_argument_group("through a server (vLLM, llama.cpp, LM Studio, polaris serve, a hosted model)")
    server.add_argument("--server", metavar="URL", help="write with the model of this OpenAI-compatible server")
    server.add_argument(
        "--engine",
        choices=ENGINES,
        help="how it takes a grammar (default: what the server says it is); chat and completions take none",
    )
    server.add_argument("--api-key-env", metavar="NAME", help="NAME of the environment variable that holds the key")
    server.add_argument(
        "--timeout", type=real(POSITIVE), default=600.0, help="seconds without a byte from the server (default 600)"
    )
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", help="subject of the book")
    prompt.add_argument("--prompt-file", metavar="FILE", help="a file with the prompt")
    parser.add_argument(
        "--out",
        "--output-directory",
        dest="out",
        required=True,
        type=folder_to_write,
        metavar="DIR",
        help="the book's folder; the same command continues the book in it",
    )
    parser.add_argument("--profile", choices=("mini", "full", "first-chapter", "demo"), default="mini")
    parser.add_argument(
        "--window",
        "--max-model-len",
        dest="window",
        type=whole(AT_LEAST_1),
        metavar="N",
        help="longest transcript in tokens",
    )
    parser.add_argument("--seed", type=whole(), default=0)
    parser.add_argument(
        "--start-from", metavar="FILE", help="a transcript, or the beginning of one, to continue in a new folder"
    )

    plan = parser.add_argument_group("your own words")
    plan.add_argument(
        "--outline",
        metavar="FILE",
        help="Markdown with title, chapters, beats, characters; the model fills it in",
    )
    plan.add_argument(
        "--continue",
        dest="draft",
        metavar="FILE",
        help="a half-written manuscript (.docx, .odt, .md, .txt) to continue",
    )
    plan.add_argument("--style", metavar="FILE", help="a style sheet, a rule per line, for the plan's Writing Style")
    plan.add_argument("--forbid", metavar="FILE", help="phrases that the book must not contain, one per line")
    plan.add_argument(
        "--scripts",
        metavar="NAME,...",
        help=f"besides Latin, Greek and Cyrillic: {', '.join(SCRIPTS)} (default: those that your words are in)",
    )

    book = parser.add_argument_group("how long (default: as the profile says)")
    book.add_argument("--chapters", type=_bounds, metavar="LOW-HIGH", help="chapters that the plan may have")
    book.add_argument("--chapter-words", type=_bounds, metavar="LOW-HIGH")
    book.add_argument(
        "--later-chapters",
        "--later-chapter-limit",
        dest="later_chapters",
        type=whole(NOT_NEGATIVE),
        metavar="K",
        help="stop after the first chapter and K more",
    )
    book.add_argument("--until", metavar="STAGE", help="stop after this stage, for example book_plan")
    book.add_argument(
        "--cap", action="append", default=[], metavar="STAGE=TOKENS", help="most tokens of a stage; may be repeated"
    )

    draw = parser.add_argument_group("sampling (default: as each stage asks for)")
    draw.add_argument("--temperature", type=real(NOT_NEGATIVE), help="replaces every stage's own temperature")
    draw.add_argument("--top-k", type=whole(NOT_NEGATIVE))
    draw.add_argument("--top-p", type=real(SHARE), default=1.0)
    draw.add_argument("--min-p", type=real(SHARE), default=0.0)
    draw.add_argument("--repetition-penalty", type=real(POSITIVE), default=1.0, help="1.15 helps little-trained models")
    draw.add_argument("--typical-p", type=real(SHARE), default=1.0, help="locally typical sampling")
    draw.add_argument("--xtc-probability", type=real(SHARE), default=0.0, help="how often the top choices are left out")
    draw.add_argument("--xtc-threshold", type=real(SHARE), default=0.1, help="least probability of a top choice")
    draw.add_argument("--dry-multiplier", type=real(NOT_NEGATIVE), default=0.0, help="DRY; 0.8 is usual")
    draw.add_argument(
        "--attempts", type=whole(AT_LEAST_1), default=3, help="attempts at a step before its settings are relaxed"
    )
    draw.add_argument(
        "--extend-short",
        type=whole(NOT_NEGATIVE),
        default=0,
        metavar="TIMES",
        help="how often a chapter that ends below 60%% of its words must continue",
    )

    edit = parser.add_argument_group("by hand, in $VISUAL or $EDITOR; everything after the stage is written again")
    which = edit.add_mutually_exclusive_group()
    which.add_argument(
        "--edit-plan",
        dest="edit",
        action="store_const",
        const="book_plan",
        help="stop at the plan, open it, and continue with the edited plan",
    )
    which.add_argument("--edit", metavar="STAGE", help="the same for any stage, for example chapter_text:2")

    which.add_argument(
        "--redo-scene",
        type=_scene,
        metavar="CHAPTER.SCENE",
        help="write one scene of a finished chapter again; the rest stays (2.1: the second chapter's first scene)",
    )

    add_sampler_flags(parser)
    parser.add_argument("--stream", action="store_true", help="print the text as it is written")
    parser.add_argument("--json", action="store_true", help="print a summary that a program can read")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    out = storage.local("--out", a.out)
    from polaris_jax.errors import InputError

    if a.checkpoint is None and a.server is None:
        raise InputError("--checkpoint", None, "give a training run or a model folder, or --server")
    _refuse_other_flags(a)
    placement = sampler_options(a)
    compilation_cache()
    from polaris_jax.commands.editor import edit_by_hand
    from polaris_jax.llm import CallFailed
    from polaris_jax.sampling import (
        DryOptions,
        LiveProgress,
        StreamProgress,
        WriterSettings,
        WritingError,
        WrittenBook,
        redo_scene,
        write_book,
    )
    from polaris_jax.sampling.export import RUN

    settings = WriterSettings(
        temperature=a.temperature,
        top_k=a.top_k,
        top_p=a.top_p,
        min_p=a.min_p,
        repetition_penalty=a.repetition_penalty,
        attempts=a.attempts,
        extend_short=a.extend_short,
        typical_p=a.typical_p,
        xtc_probability=a.xtc_probability,
        xtc_threshold=a.xtc_threshold,
        dry=DryOptions(a.dry_multiplier) if a.dry_multiplier else None,
        forbidden=lines_of(a.forbid, "--forbid"),
    )
    profile = _profile(a)
    outline = outline_of(a)
    prompt = _prompt(a, outline)
    profile = with_outline(profile, outline, scripts_of_words(a, prompt, outline))
    model = _server_model(a, profile, settings) if a.server else _local_model(a, profile, placement)
    placed = _start_from(a.start_from, Path(out)) if a.start_from else None

    def write(until: str | None) -> WrittenBook:
        with StreamProgress() if a.stream else LiveProgress() as display:
            return write_book(
                model,
                prompt,
                profile,
                seed=a.seed,
                out_dir=out,
                settings=settings,
                progress=display,
                until=until,
                later_chapters=a.later_chapters,
            )

    try:
        if a.edit:
            edit_by_hand(Path(out), a.edit, write_it_first=write)
        if a.redo_scene:
            with StreamProgress() if a.stream else LiveProgress() as display:
                redo_scene(
                    model, prompt, profile, *a.redo_scene, seed=a.seed, out_dir=out, settings=settings, progress=display
                )
        book = write(a.until)
    except InputError as error:
        if placed and not (Path(out) / RUN).exists():  # the run was refused before it wrote anything
            placed.unlink(missing_ok=True)
            with suppress(OSError):
                placed.parent.rmdir()
        if error.field == "max_length":  # the sampler's name for --window
            raise InputError("--window", error.value, error.advice.replace("max_length", "--window")) from None
        raise
    except (WritingError, CallFailed) as error:
        print(f"polaris write: {error}; what is written so far is in {out}", file=sys.stderr)
        return 1
    _print_summary(book, a.json)
    valid = book.verdict.ok or (book.end == "until" and all(stage.ok for stage in book.verdict.stages))
    return 0 if valid else 1


def _local_model(a: argparse.Namespace, profile: "Profile", placement: dict[str, Any]) -> "Sampler":
    from polaris_jax.checkpoint_sampler import open_sampler

    return open_sampler(a.checkpoint, profile.window, within_positions=True, **placement)


def _server_model(a: argparse.Namespace, profile: "Profile", settings: "WriterSettings") -> "ServerModel":
    from polaris_jax.errors import InputError
    from polaris_jax.llm import CallFailed, ClientSpec
    from polaris_jax.sampling.server import open_server
    from polaris_jax.sampling.server.connection import server_address

    spec = ClientSpec(
        "openai",
        a.checkpoint or "any",
        base_url=server_address(a.server),
        api_key_env=a.api_key_env,
        timeout=a.timeout,
    )
    try:
        model = open_server(spec, profile.window, a.engine, any_model=a.checkpoint is None)
    except CallFailed as error:
        raise InputError("--server", a.server, str(error)) from None
    model.check(settings)
    return model


def _refuse_other_flags(a: argparse.Namespace) -> None:
    """Raises an ``InputError`` about a flag that does not apply to where the model runs."""
    from polaris_jax.errors import InputError

    local = ("mesh", "tensor_parallel_size", "devices", "dtype", "cache_dtype", "weights", "speculate")
    for name in local if a.server else ("engine", "api_key_env"):
        if getattr(a, name) is not None:
            advice = "is for a checkpoint; the server has its own" if a.server else "needs --server"
            raise InputError(f"--{name.replace('_', '-')}", getattr(a, name), advice)


def _prompt(a: argparse.Namespace, outline: "BookOutline") -> str:
    """The prompt from the flags, else from the transcript to start from, else the premise of the outline."""
    from polaris_jax.errors import InputError
    from polaris_jax.trajectory import split_stages

    if a.prompt is not None:
        return a.prompt
    if a.prompt_file is not None:
        return read_text(a.prompt_file, "--prompt-file", MAX_PROMPT_BYTES)
    if a.start_from:
        stages = split_stages(read_text(a.start_from, "--start-from"), partial=True)
        if stages and stages[0].role == "prompt":
            return stages[0].text
    if outline.premise:
        return outline.premise
    raise InputError("--prompt", None, "say what the book is to be about")


def _profile(a: argparse.Namespace) -> "Profile":
    """The profile, with the limits from the flags."""
    from polaris_jax.errors import InputError
    from polaris_jax.trajectory import FIRST_CHAPTER, FULL_BOOK, mini_profile

    bounds = {name: getattr(a, name) for name in ("chapters", "chapter_words") if getattr(a, name)}
    window = a.window or {"full": FULL_BOOK.window, "first-chapter": FIRST_CHAPTER.window, "demo": 2048}.get(
        a.profile, 8192
    )
    if window < 1:
        raise InputError("--window", window, "must be positive")
    match a.profile:
        case "mini":
            profile = mini_profile(window, **bounds)
        case "demo":
            from polaris_jax.demo_settings import demo_profile

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


def _scene(text: str) -> tuple[int, int]:
    chapter, _, scene = text.partition(".")
    if not (chapter.isdecimal() and scene.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: use CHAPTER.SCENE such as 2.1")
    return int(chapter), int(scene)


def _bounds(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _start_from(file: str, folder: Path) -> Path | None:
    """Copies the transcript to where the writer looks for it and returns its path.

    None if the folder already has a book, which continues instead.
    """
    from polaris_jax.sampling.export import TRANSCRIPT

    if (folder / TRANSCRIPT).exists():
        return None
    storage.write(folder / TRANSCRIPT, read_text(file, "--start-from").encode())
    return folder / TRANSCRIPT


def _print_summary(book: "WrittenBook", as_json: bool) -> None:
    if not as_json:
        print(*book.files, sep="\n")
        return
    print(
        json.dumps(
            {
                "end": book.end,
                "ok": book.verdict.ok,
                "violations": [str(one) for one in book.verdict.violations],
                "files": [str(file) for file in book.files],
                **book.totals,
            }
        )
    )
