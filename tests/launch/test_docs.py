"""``docs/launch.md`` shows what the scripts print, and its table the flags they set."""

import importlib.util
import mmap
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.launch.conftest import ROOT

PAGE = ROOT / "docs" / "launch.md"
BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.S)


def printed(block: str, environment: dict) -> str:
    """The block as it would read now: every ``$ `` line with its output below."""
    lines = []
    for command in re.findall(r"^\$ (.+)$", block, re.M):
        ran = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, command + ran.stderr
        lines.append(f"$ {command}\n{ran.stdout}")
    return "\n".join(lines)


def test_dry_runs_on_the_page_are_what_the_scripts_print(cloud):
    """The stand-ins are on PATH, so that a dry run which calls a tool by mistake does no harm."""
    environment = {"CLOUD": str(cloud.path), "PATH": f"{cloud.path / 'bin'}:/usr/bin:/bin"}
    text = PAGE.read_text(encoding="utf-8")
    now = BLOCK.sub(lambda block: printed(block[0], environment), text)
    if os.environ.get("POLARIS_WRITE_DOCS") == "1":
        PAGE.write_text(now, encoding="utf-8")
    assert now == PAGE.read_text(encoding="utf-8")
    assert not cloud.calls()
    for script in ("tpu_pod.sh", "gke/gke.sh"):
        source = (ROOT / "launch" / script).read_text(encoding="utf-8")
        verbs = set(re.search(r'\[\[ " ([a-z -]+) " ==', source)[1].split())
        shown = set(re.findall(rf"^\$ launch/{script} (\S+)", text, re.M))
        assert verbs <= shown, f"{script}: no dry run of {verbs - shown}"


def test_the_table_of_flags_is_what_the_scripts_set():
    table = re.findall(r"^\| `(xla_\w+)` \| (\w+) \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    for column, version in ((1, "v5p"), (2, "v6e")):
        command = ["bash", "launch/tpu_flags.sh", version]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert ran.stdout.split() == [f"--{row[0]}={row[column]}" for row in table]


def test_libtpu_knows_every_flag():
    """A flag that this libtpu does not know would end every worker at its first step."""
    found = importlib.util.find_spec("libtpu")
    if found is None:
        pytest.skip("libtpu is not installed")
    with (Path(found.origin).parent / "libtpu.so").open("rb") as file:
        library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for flag in re.findall(r"^\| `(xla_\w+)`", PAGE.read_text(encoding="utf-8"), re.M):
            assert library.find(flag.encode()) >= 0, flag
