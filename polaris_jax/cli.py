"""``polaris <verb>``: finds the verb and turns errors into exit codes.

Exit codes: 0 done, 1 the verdict is negative (an invalid transcript), a run that cannot go on, or a defect, 2 the
caller's mistake (one line on standard error), 75 stopped by SIGTERM with a checkpoint: run it again, 130 interrupted.
"""

import argparse
import errno
import importlib
import os
import re
import sys
from typing import NoReturn

from polaris_jax import __version__
from polaris_jax.commands import VERBS
from polaris_jax.errors import DISK_ERRORS, MAKE_ROOM, InputError, RunError
from polaris_jax.extras import missing_extra

# Of a path a person gave: it cannot be read, made or written as it is. Other errors of the system are defects.
_PLACE = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
    errno.EROFS,
    errno.EXDEV,
}
_HOME = re.compile(r"((?:--[\w.-]+=)?(?:[\w.-]+=)?)(~[\w.-]*(?:/[^\n]*)?)")
_TEXTS = ("--prompt", "--heading", "--config.train.wandb")  # their values are no paths


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    argv = expand_home(sys.argv[1:] if argv is None else argv)
    parser = _parser(next((text for text in argv if text in VERBS), None))
    arguments, rest = parser.parse_known_args(argv)
    overrides = [text.removeprefix("--config.") for text in rest if text.startswith("--config.")]
    unknown = [text for text in rest if not text.startswith("--config.")]
    if (unknown and not arguments.takes_unknown) or (overrides and not arguments.takes_config):
        bare = next((text for text in overrides if "=" not in text), None)
        hint = f"; write --config.{bare}={unknown[0]}" if bare and unknown and arguments.takes_config else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}{hint}")
    arguments.overrides, arguments.unknown = overrides, unknown
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        print(f"polaris {arguments.verb}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"polaris {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        line = missing_extra(error)
        if line is None:
            raise
        print(f"polaris {arguments.verb}: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _PLACE | DISK_ERRORS or (error.errno in _PLACE and error.filename is None):
            raise
        what = f"{error.filename}: " if error.filename is not None else ""
        full = error.errno in DISK_ERRORS
        advice = f"; {MAKE_ROOM}" if full else ""
        print(f"polaris {arguments.verb}: {what}{error.strerror}{advice}", file=sys.stderr)
        return 1 if full else 2
    except KeyboardInterrupt:
        print(f"polaris {arguments.verb}: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        help_hint = "" if message.startswith("argument ") else f"; {self.prog} --help lists the flags"
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}{help_hint}\n")


def expand_home(argv: list[str]) -> list[str]:
    """``~`` and ``~user`` at the start of a value become the home folder, as a shell does it for a word of its own.

    A shell leaves ``--flag=~/x`` and ``'~/x'`` as they are.
    """
    expanded, before = [], ""
    for text in argv:
        found = _HOME.fullmatch(text)
        if found and not (before in _TEXTS or text.startswith(tuple(f"{flag}=" for flag in _TEXTS))):
            text = found[1] + os.path.expanduser(found[2])
        expanded.append(text)
        before = text
    return expanded


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """All verbs; when one is ``chosen`` the others are names only, so that nothing of theirs is imported."""
    parser = _OneLineParser(prog="polaris", description="Long-context training of models that write books.")
    parser.add_argument("--version", action="version", version=f"polaris_jax {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        if chosen not in (None, name):
            verbs.add_parser(name)
            continue
        module = importlib.import_module(f"polaris_jax.commands.{name}")
        text = (module.__doc__ or "").splitlines()[0].partition(": ")[2].rstrip(".")
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run=module.run, takes_config=False, takes_unknown=False)
        module.add_flags(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
