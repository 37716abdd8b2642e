"""Shared parts of the verbs that train: flags, devices and config at the start, signals and exit codes at the end."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from polaris_jax.commands.devices import compilation_cache, host_devices
from polaris_jax.commands.flag_types import folder_to_write, whole
from polaris_jax.errors import RESUMABLE
from polaris_jax.options import AT_LEAST_1

if TYPE_CHECKING:
    from polaris_jax.training.config import ConfigDict


class RunResult(Protocol):
    """A finished or stopped run: ``stopped_by`` is the number of the signal that ended it early, or 0."""

    @property
    def steps(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    @property
    def stopped_by(self) -> int: ...


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """``--config``, ``--workdir`` and ``--devices``."""
    parser.add_argument(
        "--config", required=True, metavar="NAME_OR_FILE", help="see polaris configs; --config.a.b=c overrides"
    )
    parser.add_argument(
        "--workdir",
        type=folder_to_write,
        required=True,
        help="folder of the run, local or gs://; the same folder again resumes it",
    )
    parser.add_argument("--devices", type=whole(AT_LEAST_1), help="host devices, when running on CPU")
    parser.set_defaults(takes_config=True)


def prepare(arguments: argparse.Namespace) -> "ConfigDict":
    """Sets up host devices and the compilation cache, then loads the config with its overrides.

    Raises:
      InputError: a wrong number of devices, a config that cannot be read, or a config for another verb.
    """
    host_devices(arguments.devices)
    compilation_cache()
    from polaris_jax.training.config import apply_overrides, load_config, refuse_other_verb

    config = load_config(arguments.config)
    refuse_other_verb(config, arguments.verb, arguments.config)
    return apply_overrides(config, arguments.overrides)


@contextmanager
def resumable() -> Iterator[None]:
    """SIGTERM ends the process at once with ``RESUMABLE``; the training loop inside handles signals itself.

    This loses nothing: before the loop nothing has been computed, after it everything is saved, and every file is
    written so that a process may die at any time.
    """

    def leave(number: int, frame: object) -> None:
        print("stopped by SIGTERM outside the loop; run the same command again", file=sys.stderr, flush=True)
        os._exit(RESUMABLE)

    try:
        previous = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: signals are not changed
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def exit_code(result: RunResult) -> int:
    """0 when the run is finished, ``RESUMABLE`` after SIGTERM.

    Raises:
      KeyboardInterrupt: another signal stopped the run.
    """
    if result.finished:
        return 0
    if result.stopped_by == signal.SIGTERM:
        print(
            f"stopped after step {result.steps} with a checkpoint; run the same command again to go on", file=sys.stderr
        )
        return RESUMABLE
    raise KeyboardInterrupt
