"""Packing loses nothing, splits nothing, and wastes little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polaris_jax.data import plan_bins
from polaris_jax.errors import InputError


@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=80), window=st.integers(64, 200))
@settings(max_examples=150, deadline=None)
def test_every_document_is_in_exactly_one_bin_and_no_bin_overflows(lengths, window):
    plan = plan_bins(lengths, window)
    assert sorted(plan.documents.tolist()) == list(range(len(lengths)))
    for index in range(len(plan)):
        documents, offsets = plan.bin(index)
        ends = offsets + np.asarray(lengths)[documents]
        assert offsets[0] == 0
        assert offsets[1:].tolist() == ends[:-1].tolist()
        assert ends[-1] <= window
    assert plan.fill == pytest.approx(sum(lengths) / (len(plan) * window))
    # No two bins fit into one; otherwise the later one would not have been opened.
    totals = sorted(sum(np.asarray(lengths)[plan.bin(i)[0]]) for i in range(len(plan)))
    assert len(totals) < 2 or totals[0] + totals[1] > window


def test_novels_fill_their_windows_well():
    lengths = np.random.default_rng(0).lognormal(np.log(90_000), 0.6, 10_000).astype(int).clip(5_000, 262_144)
    assert plan_bins(lengths, 262_144).fill > 0.98


def test_the_hash_is_of_what_the_plan_says():
    lengths = [30, 20, 50, 64]
    plan = plan_bins(lengths, 64)
    assert plan.hash == plan_bins(np.array(lengths), 64).hash
    others = [plan_bins(lengths, 65), plan_bins([30, 21, 50, 64], 64), plan_bins(lengths, 64, documents=[0, 1, 2])]
    assert len({plan.hash, *(other.hash for other in others)}) == 4


def test_a_split_is_packed_alone():
    assert sorted(plan_bins([9, 9, 9, 9, 9], 20, documents=[1, 4]).documents.tolist()) == [1, 4]


def test_a_document_longer_than_the_window_is_refused_unless_told():
    with pytest.raises(InputError, match=r"window=64: trajectory 1 has 65 tokens \(2 are too long\)"):
        plan_bins([10, 65, 20, 99], 64)
    assert sorted(plan_bins([10, 65, 20, 99], 64, overlong="drop").documents.tolist()) == [0, 2]
    with pytest.raises(InputError, match="no trajectory fits"):
        plan_bins([65], 64, overlong="drop")
    with pytest.raises(InputError, match="overlong='cut'"):
        plan_bins([65], 64, overlong="cut")
