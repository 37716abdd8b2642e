"""Rows from several stores come in the requested shares, stages follow one another, and a step is a pure function."""

import numpy as np
import pytest

from polaris_jax.data import Batches, Curriculum, Mixture, plan_bins
from polaris_jax.errors import InputError


def source(store, split, *, window=80, batch_size=1, seed=0):
    plan = plan_bins(store.lengths, window, documents=store.where(split=split))
    return Batches(store, plan, batch_size=batch_size, seed=seed)


@pytest.fixture
def mixture(store):
    return Mixture([source(store, "train"), source(store, "validation")], (3.0, 1.0), batch_size=4)


def equal(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_the_shares_hold_in_every_stretch_and_each_source_takes_its_rows_in_order(mixture):
    drawn = [pair for step in range(50) for pair in mixture.of_step(step)]
    for number in (0, 1):
        assert [row for place, row in drawn if place == number] == list(range(sum(p == number for p, _ in drawn)))
    for end in range(8, 200, 8):
        assert abs(sum(place == 1 for place, _ in drawn[:end]) - end / 4) <= 1


def test_a_row_of_the_mixture_is_the_next_row_of_its_source(mixture):
    for step in (0, 3, 17):
        batch = mixture.batch(step)
        for row, (place, number) in enumerate(mixture.of_step(step)):
            assert equal({name: batch[name][row : row + 1] for name in batch}, mixture.sources[place].batch(number))


def test_any_number_of_hosts_reads_the_same_global_batch(mixture):
    whole = mixture.batch(5)
    for hosts in (2, 4):
        size = 4 // hosts
        parts = [mixture.batch(5, slice(h * size, (h + 1) * size), slice(0, 40)) for h in range(hosts)]
        assert equal(
            {name: np.concatenate([part[name] for part in parts]) for name in whole},
            {name: whole[name][:, :40] for name in whole},
        )


def test_stages_have_their_own_windows_and_begin_at_their_own_first_row(store):
    short = source(store, "train", window=72, batch_size=2)
    long = source(store, "train", window=160)
    stages = Curriculum([(3, short), (1, long)])
    assert [stages.shape(step) for step in range(5)] == [(2, 72)] * 3 + [(1, 160)] * 2
    assert equal(stages.batch(2), short.batch(2))
    assert equal(stages.batch(3), long.batch(0))
    assert equal(stages.batch(10), long.batch(7))
    assert equal(stages.batch(3, columns=slice(0, 80)), long.batch(0, columns=slice(0, 80)))


def test_the_state_is_small_and_knows_other_data_from_its_own(store, mixture):
    stages = Curriculum([(3, source(store, "train")), (1, mixture)])
    assert stages.check_state(stages.state(7)) == 7
    other = Mixture(mixture.sources, (1.0, 1.0), batch_size=4)
    with pytest.raises(InputError, match="weights"):
        other.check_state(mixture.state(2))
    with pytest.raises(InputError, match="starts"):
        Curriculum([(4, source(store, "train")), (1, mixture)]).check_state(stages.state(7))
    with pytest.raises(InputError, match="stages"):
        Curriculum([(3, source(store, "train", seed=1)), (1, mixture)]).check_state(stages.state(7))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -2.0)])
def test_weights_that_make_no_shares_are_refused(mixture, weights):
    with pytest.raises(InputError, match="weights"):
        Mixture(mixture.sources, weights, batch_size=4)


def test_windows_of_a_mixture_must_agree(store):
    with pytest.raises(InputError, match="window"):
        Mixture([source(store, "train"), source(store, "train", window=160)], (1, 1), batch_size=1)
