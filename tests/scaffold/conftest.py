"""The bundled novel, read once."""

from importlib.resources import files

import pytest

from polaris_jax.library import read_novel


@pytest.fixture(scope="session")
def hallin():
    return read_novel(str(files("polaris_jax.library") / "books" / "the_hallin_inventory.txt"))
