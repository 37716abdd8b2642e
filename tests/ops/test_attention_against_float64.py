"""Sharded attention in blocks equals a plain float64 computation, whatever the shape: a share of the long benchmark."""

import benchmark_scripts
import pytest

fuzz = benchmark_scripts.load("attention_fuzz")


@pytest.mark.parametrize("seed", [1, 3, 6, 8, 9, 10])
def test_the_portable_loop(seed):
    case, errors = fuzz.errors(seed)
    assert max(errors.values()) < 1, (case, errors)


@pytest.mark.parametrize("seed", [1000])
def test_the_tpu_kernels_interpreted(seed):
    case, errors = fuzz.errors(seed, "pallas_interpret")
    assert max(errors.values()) < 1, (case, errors)
