"""``polaris <verb>``: finds the verb and turns what goes wrong into an exit code.

Exit codes: 0 done, 1 the verdict is negative (an invalid transcript), a run that cannot go on, or a defect, 2 the
caller's mistake (one line on standard error), 75 stopped by SIGTERM with a checkpoint: run it again, 130 interrupted.
"""

import argparse
import importlib
import sys

from polaris_jax import __version__
from polaris_jax.commands import VERBS
from polaris_jax.errors import InputError, RunError


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser(next((text for text in argv if text in VERBS), None))
    arguments, rest = parser.parse_known_args(argv)
    overrides = [text.removeprefix("--config.") for text in rest if text.startswith("--config.")]
    unknown = [text for text in rest if not text.startswith("--config.")]
    if (unknown and not arguments.takes_unknown) or (overrides and not arguments.takes_config):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    arguments.overrides, arguments.unknown = overrides, unknown
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        print(f"polaris {arguments.verb}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"polaris {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"polaris {arguments.verb}: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """All verbs; when one is ``chosen`` the others are names only, so that nothing of theirs is imported."""
    parser = argparse.ArgumentParser(prog="polaris", description="Long-context training of models that write books.")
    parser.add_argument("--version", action="version", version=f"polaris_jax {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        if chosen not in (None, name):
            verbs.add_parser(name)
            continue
        module = importlib.import_module(f"polaris_jax.commands.{name}")
        text = module.__doc__.splitlines()[0].partition(": ")[2].rstrip(".")
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run=module.run, takes_config=False, takes_unknown=False)
        module.add_flags(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
