"""The bundled novel, read once; and the address of a real model."""

from importlib.resources import files

import pytest

from polaris_jax.library import read_novel


@pytest.fixture(scope="session")
def hallin():
    return read_novel(str(files("polaris_jax.library") / "books" / "the_hallin_inventory.txt"))


@pytest.fixture(scope="session")
def smollm2(model_server):
    """Base URL of an OpenAI-compatible server with a small real model."""
    return f"{model_server}/v1"
