"""A real store of the bundled novel, and a random model small enough to train in a test."""

from collections.abc import Callable
from pathlib import Path

import pytest
from material import make_material
from ml_collections import ConfigDict

from polaris_jax.training import default_config

WINDOW = 2048


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> Path:
    """A folder with ``model/`` (32 wide, 2 layers, own tokenizer) and ``store/`` (mini volumes of the novel)."""
    return make_material(tmp_path_factory.mktemp("material"), WINDOW)


@pytest.fixture(scope="session")
def make_config(material) -> Callable[[], ConfigDict]:
    """Fresh configs over ``material``: 8 steps in float32 on fsdp 2 × context 4."""

    def make():
        config = default_config()
        config.model.update({"path": str(material / "model"), "compute_dtype": "float32", "attention_block": 128})
        config.mesh.update({"fsdp": 2, "context": 4})
        config.data.update({"store": str(material / "store"), "window": WINDOW, "batch_size": 2, "threads": 1})
        config.optim.update({"learning_rate": 2e-2, "warmup": 1, "newton_schulz_dtype": "float32"})
        config.train.update({"steps": 8, "checkpoint_every": 2})
        return config

    return make
