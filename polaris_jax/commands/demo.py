"""``polaris demo``: the whole flow: novels, trajectories, training, a written book, a report."""

import argparse
import dataclasses

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache, host_devices
from polaris_jax.commands.flag_types import folder_to_write, whole
from polaris_jax.options import AT_LEAST_1


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument(
        "--books", nargs="+", default=[], metavar="PATH_OR_GLOB", help="novels; default: the bundled one"
    )
    parser.add_argument(
        "--workdir", type=folder_to_write, default="runs/demo", help="folder for all files (default runs/demo)"
    )
    parser.add_argument("--tiny", action="store_true", help="a small random model instead of SmolLM2-135M")
    parser.add_argument(
        "--devices", type=whole(AT_LEAST_1), default=4, help="host devices, all on the context axis (default 4)"
    )
    parser.add_argument("--steps", type=whole(AT_LEAST_1), help="optimizer steps")
    parser.add_argument("--window", type=whole(AT_LEAST_1), help="tokens per row (default 2048)")
    parser.add_argument("--precision", help="fp32_master | stochastic_downcast | bf16_stochastic")
    parser.add_argument("--prompt", help="subject of the written book")
    parser.add_argument("--seed", type=whole(), default=0)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    workdir = storage.local("--workdir", a.workdir)
    host_devices(a.devices)
    compilation_cache()
    from polaris_jax.demo import run_demo
    from polaris_jax.demo_settings import DemoSettings, tiny_settings

    settings = DemoSettings(books=tuple(a.books), seed=a.seed)
    if a.tiny:
        settings = tiny_settings(settings)
    given = {name: getattr(a, name) for name in ("steps", "window", "precision", "prompt") if getattr(a, name)}
    run_demo(dataclasses.replace(settings, **given), workdir)
    return 0
