"""A finished demo folder for each test that wants to change it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from demo_folder import small_book, small_demo

from polaris_jax.trajectory import render


@pytest.fixture
def demo(tmp_path) -> Path:
    return small_demo(tmp_path / "demo")


@pytest.fixture(scope="session")
def lamp() -> str:
    """The transcript of a complete book."""
    return render(small_book())
