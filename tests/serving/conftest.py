"""One small checkpoint, one server of it and one client for all files."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from serving_process import running, small_checkpoint

from polaris_jax.data import train_sentencepiece


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


@pytest.fixture(scope="session")
def client(server):
    """OpenAI's own client of ``server``."""
    import openai

    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="session")
def tokenizer():
    """A small vocabulary with the stage tokens, for chats without a model."""
    return train_sentencepiece(["the fog lay over the water and the boats: user, system, assistant\n"] * 9, 285)
