"""One small checkpoint and one server of it for all files."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from serving_process import running, small_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("served") / "tide")


@pytest.fixture(scope="session")
def server(checkpoint):
    for name in ("starlette", "uvicorn", "jsonschema", "openai"):
        pytest.importorskip(name, reason="pip install 'polaris-jax[serve,llm]'")
    flags = "--window=1024 --slots=3 --max-queue=12 --max-choices=8 --max-tokens=600 --max-body-bytes=200000"
    with running(checkpoint, *flags.split()) as server:
        yield server
