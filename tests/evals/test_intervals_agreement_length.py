"""Intervals have their nominal coverage, agreement equals other libraries', and lengths fall into their bands."""

import numpy as np
import pytest

from polaris_jax.evals.intervals import bootstrap
from polaris_jax.evals.judging.agreement import krippendorff_alpha, pair_agreements
from polaris_jax.evals.length import (
    band_of,
    bucket_of,
    requested_words,
    slope_per_bucket,
)


def test_bootstrap_intervals_hold_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = []
    for seed in range(150):
        found = bootstrap(rng.normal(3.0, 2.0, 40), samples=300, seed=seed)
        inside.append(found.low <= 3.0 <= found.high)
    assert 0.89 <= np.mean(inside) <= 0.98


def test_stories_that_share_a_prompt_are_drawn_together():
    """Ten copies of every value carry no more information than one."""
    values = np.random.default_rng(1).normal(size=30)
    alone = bootstrap(values, seed=2)
    copies = bootstrap(np.repeat(values, 10), clusters=np.repeat(np.arange(30), 10), seed=2)
    naive = bootstrap(np.repeat(values, 10), seed=2)
    width = [one.high - one.low for one in (alone, copies, naive)]
    assert width[1] == pytest.approx(width[0], rel=0.1)
    assert width[2] < 0.5 * width[1]


def test_bootstrap_of_one_value():
    found = bootstrap([4.0])
    assert (found.value, found.low, found.high) == (4.0, 4.0, 4.0)


def test_alpha_agrees_with_the_krippendorff_package():
    krippendorff = pytest.importorskip("krippendorff", reason="pip install krippendorff to compare with it")
    rng = np.random.default_rng(3)
    for noise in (0.1, 1.0, 5.0):
        table = rng.normal(50, 10, 25) + rng.normal(0, noise, (4, 25))
        table[rng.random(table.shape) < 0.2] = np.nan
        theirs = krippendorff.alpha(table, level_of_measurement="interval")
        assert krippendorff_alpha(table) == pytest.approx(theirs, abs=1e-9)


def test_alpha_of_nothing_and_of_no_variation():
    assert krippendorff_alpha([[1.0, np.nan], [np.nan, 2.0]]) is None
    assert krippendorff_alpha([[1.0, 1.0], [1.0, 1.0]]) is None
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]]) == 1


def test_a_lenient_judge_who_ranks_alike():
    scores = np.random.default_rng(4).normal(size=20)
    [pair] = pair_agreements(["strict", "lenient"], [scores, 2 * scores + 5])
    assert pair.spearman == pytest.approx(1)
    assert pair.kendall == pytest.approx(1)
    assert pair.mean_difference.high < 0


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A tale, approximately 2,500 words long.", 2500),
        ("write a 100-word short thank you email", 100),
        ("Approximately 500 words. It should be 800 words long.", 800),
        ("no length", None),
        ("0 words long", None),
    ],
)
def test_requested_length_is_read_from_the_prompt(prompt, words):
    assert requested_words(prompt) == words


def test_bands_and_buckets_have_their_upper_edges():
    assert [band_of(x) for x in (1, 1000, 4000, 4001, 8000, 12000, 12001)] == [
        "1-4k",
        "1-4k",
        "1-4k",
        "4-8k",
        "4-8k",
        "8-12k",
        ">12k",
    ]
    assert [bucket_of(x) for x in (1, 2000, 2001, 12000)] == [0, 0, 1, 5]


def test_slope_counts_buckets_alike_however_many_stories_they_hold():
    targets = [1000] * 50 + [3000] + [5000]
    assert slope_per_bucket(targets, [60.0] * 50 + [50.0] + [40.0]) == pytest.approx(-10)
    assert slope_per_bucket([1000, 1500], [1.0, 2.0]) is None
