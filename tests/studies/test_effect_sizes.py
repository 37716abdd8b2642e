"""Effects: exact, clustered, calibrated."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polaris_jax.studies.style import Sample, contrast, shift

values = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def alone(numbers):
    """Every value is a cluster."""
    return Sample.of(numbers, [str(i) for i in range(len(numbers))])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(values, values)
def test_the_effect_is_the_share_of_pairs_above_less_the_share_below(a, b):
    pairs = [(x > y) - (x < y) for x in a for y in b]
    assert contrast(alone(a), alone(b), resamples=10).delta == pytest.approx(sum(pairs) / len(pairs))


def test_values_that_do_not_exist_are_left_out_and_an_empty_group_finds_nothing():
    found = contrast(alone([1.0, np.nan, 3.0]), alone([]))
    assert (found.n_a, found.n_b, found.separates) == (2, 0, False)
    assert found.to_json()["delta"] is None


def test_one_prolific_author_is_one_piece_of_evidence():
    rng = np.random.default_rng(0)
    authors = np.repeat(np.arange(6), 20)
    a = rng.normal(size=6)[authors] + 0.1 * rng.normal(size=120)
    b = rng.normal(size=120)
    clustered = contrast(Sample.of(a, authors), alone(b))
    loose = contrast(alone(a), alone(b))
    assert clustered.delta == pytest.approx(loose.delta)
    assert clustered.high - clustered.low > 1.5 * (loose.high - loose.low)


def test_intervals_hold_what_they_promise_when_there_is_nothing_to_find():
    rng = np.random.default_rng(1)
    alarms = 0
    for seed in range(150):
        labels = np.repeat(np.arange(12), 4)
        a, b = (rng.normal(size=12)[labels] + rng.normal(size=48) for _ in range(2))
        found = contrast(Sample.of(a, labels), Sample.of(b, labels), resamples=400, seed=seed)
        alarms += found.low > 0 or found.high < 0
    assert alarms / 150 < 0.11  # nominally 0.05; percentile intervals over twelve clusters are a little short


def test_a_family_of_measures_needs_more_evidence_than_one():
    rng = np.random.default_rng(2)
    a, b = alone(rng.normal(0.5, 1, 60)), alone(rng.normal(0, 1, 60))
    one, many = contrast(a, b), contrast(a, b, family=20)
    assert many.sure_low < one.sure_low
    assert many.low == one.low


def test_a_group_that_moved_towards_the_reference_has_a_shift_above_zero():
    rng = np.random.default_rng(3)
    reference, far, near = (alone(rng.normal(mean, 1, 80)) for mean in (0.0, 2.0, 0.5))
    moved = shift(far, near, reference)
    assert moved.low > 0
    back = shift(near, far, reference)
    assert back.value == pytest.approx(-moved.value)
    still = shift(far, far, reference)
    assert still.low < 0 < still.high
