"""Advantages, policy terms, divergences, ORPO and shares of the loss equal plain NumPy on random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.rl import (
    WeightSchedule,
    aggregation_weights,
    divergence,
    group_advantages,
    orpo_loss,
    policy_terms,
)
from polaris_jax.rl.preference import cotangents


def plain_advantages(scores, labels, reference, valid, *, exclude, normalise, floor, limit):
    """One group at a time, in float64."""
    out = np.zeros(len(scores))
    for label in set(labels):
        group = [i for i, other in enumerate(labels) if other == label]
        counted = [i for i in group if not (reference[i] and exclude and not all(reference[j] for j in group))]
        left = [scores[i] for i in counted if valid[i]]
        if not left or (len(left) == 1 and len(counted) > 1):
            continue
        mean, spread = (0.0, 1.0) if len(left) == 1 else (np.mean(left), np.std(left, ddof=1))
        for i in group:
            if valid[i]:
                out[i] = (scores[i] - mean) / (max(spread, floor) + 1e-6 if normalise else 1.0)
                if reference[i] and limit:
                    out[i] = np.clip(out[i], -limit, limit)
    return out


def test_advantages_of_random_groups():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 20))
        labels = rng.integers(0, 4, n).tolist()
        scores = rng.normal(size=n).round(int(rng.integers(0, 3)))
        reference, valid = rng.random(n) < 0.25, rng.random(n) < 0.8
        exclude, normalise = bool(rng.integers(2)), bool(rng.integers(2))
        floor, limit = float(rng.choice([0, 0.02, 0.5])), float(rng.choice([0, 10, 1]))
        got = group_advantages(
            scores,
            labels,
            human_reference=reference,
            valid=valid,
            exclude_human_references=exclude,
            normalise=normalise,
            std_floor=floor,
            human_reference_limit=limit,
        )
        want = plain_advantages(
            scores, labels, reference, valid, exclude=exclude, normalise=normalise, floor=floor, limit=limit
        )
        # Equal scores have a spread of a few roundoffs, which the division by 1e-6 makes 0.06 at most.
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-4)


def test_large_scores_close_together_keep_their_order():
    near = group_advantages([1e4 + 0.1, 1e4 + 0.2, 1e4 + 0.3], [0, 0, 0])
    np.testing.assert_allclose(near, [-1, 0, 1], atol=0.01)  # a score of 1e4 has steps of 0.001


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_silences_its_group(bad):
    assert not group_advantages([bad, 1.0, 2.0], [0, 0, 0]).any()


def test_policy_terms_clip_on_both_sides_and_the_dual_clip_bounds_losses():
    rng = np.random.default_rng(1)
    new, old, advantage = (rng.normal(size=300) * scale for scale in (3, 3, 2))
    for dual in (0.0, 3.0):
        ratio = np.exp(new - old)
        want = np.maximum(-advantage * ratio, -advantage * np.clip(ratio, 0.8, 1.28))
        want = np.where((advantage < 0) & (dual > 0), np.minimum(want, -dual * advantage), want)
        arrays = (jnp.asarray(x, jnp.float32) for x in (new, old, advantage))
        got = policy_terms(*arrays, clip_low=0.2, clip_high=0.28, dual_clip=dual).loss
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k1+", "k3+", "abs", "low_var_kl", "kl"])
def test_divergences_have_the_expectation_they_are_named_for(estimator):
    """Under the policy's own distribution; those with a plus, and k2, have the gradient of the divergence too.

    Distributions are close: k3 is cut where a token's value passes 10.
    """
    rng = np.random.default_rng(2)
    logits, other = rng.normal(size=5) / 2, jax.nn.log_softmax(jnp.asarray(rng.normal(size=5)) / 2)

    def expected(logits):
        own = jax.nn.log_softmax(logits)
        return (jax.lax.stop_gradient(jnp.exp(own)) * divergence(own, other, estimator)).sum()

    def true(logits):
        own = jax.nn.log_softmax(logits)
        return (jnp.exp(own) * (own - other)).sum()

    (value, slope), (want, wanted) = (jax.value_and_grad(f)(jnp.asarray(logits)) for f in (expected, true))
    if estimator not in ("k2", "abs"):
        assert float(value) == pytest.approx(float(want), rel=1e-5)
    if estimator in ("k2", "k1+", "k3+"):
        np.testing.assert_allclose(slope, wanted, atol=1e-5)


def plain_orpo(logprobs, chosen, rejected, beta):
    means = [row.mean() for row in logprobs]
    odds = [mean - np.log1p(-np.exp(mean)) for mean in means]
    ratio = np.array([odds[c] - odds[r] for c, r in zip(chosen, rejected, strict=True)])
    return -np.mean([means[c] for c in chosen]) + beta * np.mean(np.log1p(np.exp(-ratio)))


def test_orpo_and_its_gradient_by_differences():
    rng = np.random.default_rng(3)
    rows = [rng.uniform(-4, -0.1, int(rng.integers(2, 9))) for _ in range(4)]
    chosen, rejected, step = [0, 0, 0], [1, 2, 3], 1e-5
    metrics, weights = cotangents([row.astype(np.float32) for row in rows], chosen, rejected, 1.0)
    loss = plain_orpo(rows, chosen, rejected, 1.0)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    for row, token in ((0, 0), (2, 1)):
        moved = [values.copy() for values in rows]
        moved[row][token] += step
        slope = (plain_orpo(moved, chosen, rejected, 1.0) - loss) / step
        assert -weights[row][token] == pytest.approx(slope, rel=1e-3)


def test_orpo_of_certain_texts_is_finite():
    for certain in ([0.0], [-1.0]):
        loss = orpo_loss(jnp.asarray([0.0]), jnp.asarray(certain), 1.0)[0]
        slope = jax.grad(lambda c, other=certain: orpo_loss(c, jnp.asarray(other), 1.0)[0])(jnp.asarray([0.0]))
        assert np.isfinite(loss)
        assert np.isfinite(slope).all()


def test_shares_of_the_loss_are_the_named_means():
    rng = np.random.default_rng(4)
    mask = (rng.random((5, 7)) < 0.6).astype(float)
    mask[2] = 0
    values = rng.normal(size=mask.shape)
    sums, counts = (values * mask).sum(1), mask.sum(1)
    real = counts > 0
    want = {
        "token-mean": sums.sum() / counts.sum(),
        "seq-mean-token-sum": sums[real].mean(),
        "seq-mean-token-mean": (sums[real] / counts[real]).mean(),
        "seq-mean-token-sum-norm": sums[real].mean() / mask.shape[1],
    }
    for mode, mean in want.items():
        assert (aggregation_weights(mask, mode) * values).sum() == pytest.approx(mean, abs=1e-6), mode


def test_schedules_of_weights_warm_up_hold_and_fall():
    straight, round_ = WeightSchedule(0.4, 0, 15), WeightSchedule(0.4, 0.1, 2, 4, "cosine")
    assert [round(straight(step), 4) for step in (0, 1, 14, 15, 172)] == [0.0, 0.0267, 0.3733, 0.4, 0.4]
    assert [round(round_(step), 4) for step in range(8)] == [0.0, 0.2, 0.4, 0.3561, 0.25, 0.1439, 0.1, 0.1]
