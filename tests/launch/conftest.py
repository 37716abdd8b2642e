"""A cloud in a folder for the launch scripts; the machine's real tools are never called."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# In place of what `uv` installs: a `polaris` that records its arguments and does what the test wrote.
TOLD = """#!/usr/bin/env bash
joined="$JAX_PROCESS_ID of $JAX_NUM_PROCESSES at $JAX_COORDINATOR_ADDRESS"
if [[ -n ${MEGASCALE_NUM_SLICES:-} ]]; then
  joined+=", slice $MEGASCALE_SLICE_ID of $MEGASCALE_NUM_SLICES at $MEGASCALE_COORDINATOR_ADDRESS"
fi
printf '%s\\n' "$LIBTPU_INIT_ARGS" "$*" "$joined" >"$HOME/told"
. "$CLOUD/polaris"
"""
# The metadata server of a Cloud TPU VM.
CURL = """#!/usr/bin/env bash
slice=$(basename "$HOME" | cut -d- -f4)
case ${@: -1} in
  *attributes/agent-worker-number) basename "$HOME" | cut -d- -f2 ;;
  *attributes/worker-network-endpoints) echo "10.0.${slice:-0}.7,10.0.${slice:-0}.8" ;;
  *attributes/tpu-env) printf "ACCELERATOR_TYPE: 'v6e-8'\nMEGASCALE_SLICE_ID: '%s'\n" "${slice:-0}" ;;
  *) exit 22 ;;
esac
"""
UV = """#!/usr/bin/env bash
if [[ $1 == venv ]]; then
  folder=${@: -1}
  mkdir -p "$folder/bin"
  cp "$CLOUD/bin/told" "$folder/bin/polaris"
  chmod +x "$folder/bin/polaris"
else
  for word in "$@"; do [[ $word != *requirements.lock ]] || test -s "$word" || exit 1; done
fi
"""


@dataclass(frozen=True)
class Cloud:
    """The folder behind ``cloud_stub`` and how to run a script of ``checkout`` against it."""

    path: Path
    checkout: Path

    def run(self, script: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
        environment = {
            "CLOUD": str(self.path),
            "HOME": str(self.path),
            "UV": str(self.path / "bin" / "uv"),
            "PATH": f"{self.path / 'bin'}:/usr/bin:/bin",
        }
        return subprocess.run(
            ["bash", f"launch/{script}", *arguments],
            cwd=self.checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def calls(self, *beginning: str) -> list[list[str]]:
        """Calls whose first words are these."""
        file = self.path / "calls"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [row for row in rows if row[: len(beginning)] == list(beginning)]

    def queued(self, verb: str) -> list[list[str]]:
        return self.calls("gcloud", "compute", "tpus", "queued-resources", verb)

    def polaris(self, script: str) -> None:
        """What `polaris` does on every worker."""
        (self.path / "polaris").write_text(script)

    def answers(self, *states: str) -> None:
        """What `describe` answers next."""
        (self.path / "script").write_text("\n".join(states))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A clone: the scripts, the configs, a little source, all committed."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("launch", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "polaris_jax").mkdir()
    shutil.copy(ROOT / "polaris_jax" / "cli.py", folder / "polaris_jax")
    who = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "everything")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def cloud(tmp_path, checkout):
    folder = tmp_path / "cloud"
    (folder / "bin").mkdir(parents=True)
    for name in ("gcloud", "kubectl", "xpk", "docker"):
        tool = folder / "bin" / name
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {HERE / "cloud_stub.py"} {name} "$@"\n')
        tool.chmod(0o755)
    for name, script in (("uv", UV), ("curl", CURL), ("told", TOLD)):
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    made = Cloud(folder, checkout)
    made.polaris("exit 0\n")
    yield made
    for pid in folder.glob("worker-*/polaris/run/pid"):  # nothing outlives its test
        subprocess.run(["pkill", "-KILL", "--session", pid.read_text().strip()], check=False)


@pytest.fixture
def child_environment():
    """For scripts that start Python: this interpreter is the first on PATH."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
