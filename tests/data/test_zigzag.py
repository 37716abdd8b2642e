"""Zigzag order: an invertible permutation, and equal causal work on every shard."""

import numpy as np
import pytest

from polaris_jax.data import zigzag_inverse, zigzag_order
from polaris_jax.errors import InputError


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
def test_natural_order_comes_back(shards):
    natural = np.random.default_rng(0).integers(0, 9, 48)
    stored = natural[zigzag_order(48, shards)]
    np.testing.assert_array_equal(stored[zigzag_inverse(48, shards)], natural)
    assert sorted(zigzag_order(48, shards).tolist()) == list(range(48))


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_every_shard_has_the_same_causal_work(shards):
    visible = 1 + zigzag_order(48, shards).reshape(shards, -1)  # a query at position p sees p + 1 keys
    assert len(set(visible.sum(axis=1).tolist())) == 1


def test_shard_i_holds_chunks_i_and_its_mirror():
    assert zigzag_order(8, 2).tolist() == [0, 1, 6, 7, 2, 3, 4, 5]


def test_a_window_that_does_not_divide_names_the_one_that_does():
    with pytest.raises(InputError, match=r"window=100.*is 112"):
        zigzag_order(100, 8)
    assert len(zigzag_order(112, 8)) == 112
    with pytest.raises(InputError, match="shards=0"):
        zigzag_order(100, 0)
