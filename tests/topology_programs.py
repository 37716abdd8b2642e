"""Programs that see a TPU topology, each in a process of its own: libtpu stays out of the process of the tests."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polaris_jax.planner.compile import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[1]
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def run(program: str, *arguments: str, seconds: float = 300):
    """The last line a Python program prints, as JSON; ``arguments`` are its ``sys.argv[1:]``."""
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])
