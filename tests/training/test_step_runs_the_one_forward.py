"""A default training step runs the forward pass of ``models/decoder.py``."""

import benchmark_scripts
import pytest

code_walk = benchmark_scripts.load("code_walk")


@pytest.fixture(scope="module")
def files():
    return code_walk.train_step().files


def test_it_enters_layers_attention_loss_and_optimizer(files):
    """So that the walk is known to see such calls."""
    assert {"models/layers.py", "ops/ring.py", "ops/cross_entropy.py", "optim/muon.py", "training/step.py"} <= set(
        files
    )


def test_it_enters_the_decoder(files):
    assert "models/decoder.py" in files
