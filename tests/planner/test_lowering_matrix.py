"""The train step lowers for every kind of device, mesh, remat, recipe and family."""

import json
import os
import subprocess
import sys

import benchmark_scripts
import pytest
from topology_programs import ROOT, needs_libtpu

SCRIPT = benchmark_scripts.FOLDER / "lowering_matrix.py"


def rows(*flags, seconds):
    """The script's result of every case; libtpu stays out of the process of the tests."""
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *flags],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert found, ran.stderr[-2000:]
    return found, ran.returncode


def check(found, code):
    failed = [row for row in found if row["result"] == "failed"]
    assert failed == []
    for row in found:
        if row["device"] != "cuda":
            assert "kernels" in row["detail"], row  # attention is a kernel on TPU, whatever the mesh
    assert code == 0


@needs_libtpu
def test_a_case_of_every_kind():
    found, code = rows("--fast", seconds=600)
    check(found, code)
    assert "context=8" in {row["mesh"] for row in found if row["family"] == "qwen3_5"}


@needs_libtpu
@pytest.mark.slow
def test_every_pair_of_values():
    found, code = rows(seconds=7200)
    check(found, code)
    for value in ("v5p", "v6e", "tpu7x", "cuda", "tensor=8", "2 slices", "qwen3_5", "stochastic_downcast"):
        assert any(value in " ".join(map(str, row.values())) for row in found), value
