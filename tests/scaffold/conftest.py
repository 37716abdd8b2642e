"""The bundled novel, read once; models behind HTTP, with answers of the test and a real one."""

import contextlib
from importlib.resources import files

import pytest
from http_model import Model

from polaris_jax.library import read_novel


@pytest.fixture(scope="session")
def hallin():
    return read_novel(str(files("polaris_jax.library") / "books" / "the_hallin_inventory.txt"))


@pytest.fixture(scope="session")
def smollm2(model_server):
    """Base URL of an OpenAI-compatible server with a small real model."""
    return f"{model_server}/v1"


@pytest.fixture
def serve():
    """``serve(said)``: an ``http_model.Model`` that is listening."""
    with contextlib.ExitStack() as servers:
        yield lambda said: servers.enter_context(Model(said))
