"""``polaris launch``: a run on TPU VMs, on a GKE cluster, or as several processes of this machine.

The scripts in ``launch/`` do the work (docs/launch.md). This verb finds them in a checkout and in an installed package.
"""

import argparse
import os
import sys

_USES = {
    "tpu": "slices of Cloud TPU VMs by queued resources: create, install, start, follow, again after preemption",
    "gke": "slices of a GKE cluster: as a JobSet, or by XPK",
    "local": "several processes over loopback, as on a pod, on this machine",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags: a place, whose script reads the rest."""
    parser.add_argument("where", choices=_USES, help="; ".join(f"{name}: {use}" for name, use in _USES.items()))
    parser.add_argument(
        "rest",
        nargs=argparse.REMAINDER,
        metavar="ARGUMENTS",
        help="arguments of the script; without any, it lists them. --dry-run prints every command and executes none",
    )


def run(arguments: argparse.Namespace) -> int:
    """Replaces this process by the script, whose exit code is that of the verb.

    Raises:
      InputError: bash or the scripts are missing.
    """
    import shutil

    from polaris_jax.errors import InputError
    from polaris_jax.launching import SCRIPTS, find_checkout, send_config

    bash = shutil.which("bash")
    if bash is None:
        raise InputError("polaris launch", "bash", "is needed and not there; install it")
    checkout = find_checkout()
    own = arguments.rest[: arguments.rest.index("--")] if "--" in arguments.rest else arguments.rest
    words = list(arguments.rest)
    for place, word in enumerate(own):
        if word.startswith("--config="):
            words[place] = f"--config={send_config(checkout, word.removeprefix('--config='))}"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(bash, ["bash", str(checkout / SCRIPTS[arguments.where]), *words])
