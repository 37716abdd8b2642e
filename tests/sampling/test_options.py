"""A sampled token follows the distribution the options describe, and a bad option is refused in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.sampling.options import (
    HEAD,
    LogitShifts,
    SamplingOptions,
    lowest_kept,
    option_arrays,
    pick,
    sample_tokens,
    unpack_bitmask,
)

V = 40
LOGITS = np.asarray(2.0 * np.random.default_rng(0).normal(size=V), np.float32)


BIAS = {3: 2.5, 11: -100.0, 12: 0.75}
COUNTS = {3: 1, 5: 4, 20: 2}


def expected(options: SamplingOptions, allowed=None, seen=(), shifted=False):
    """The distribution, from the definitions, with plain loops."""
    x = LOGITS.astype(np.float64).copy()
    for i, bias in BIAS.items() if shifted else ():
        x[i] += bias
    for i in seen:
        x[i] = x[i] / options.repetition_penalty if x[i] > 0 else x[i] * options.repetition_penalty
    for i, count in COUNTS.items() if shifted else ():
        x[i] -= options.presence_penalty + count * options.frequency_penalty
    if allowed is not None:
        x[[i for i in range(V) if i not in allowed]] = -np.inf
    p = np.exp((x - x.max()) / options.temperature)
    p /= p.sum()
    p[p < options.min_p * p.max()] = 0
    order = np.argsort(-p, kind="stable")
    if options.top_k:
        p[order[options.top_k :]] = 0
    p /= p.sum()
    total = 0.0
    for i in order:
        if total >= options.top_p:
            p[i] = 0
        total += p[i]
    return p / p.sum()


def packed(allowed=None):
    bits = np.zeros(64, bool)
    bits[list(range(V)) if allowed is None else list(allowed)] = True
    return np.packbits(bits, bitorder="little").view(np.int32)


def shifts(n):
    arrays = LogitShifts(np.zeros((n, V), np.float32), np.zeros((n, V), np.int32), np.zeros((n, V), np.float32))
    for array, values in zip(arrays, (BIAS, COUNTS), strict=False):
        array[:, list(values)] = list(values.values())
    return arrays


def draws(options, n, allowed=None, seen=(), seed=7, shifted=False):
    return sample_tokens(
        jnp.tile(LOGITS, (n, 1)),
        jnp.tile(packed(allowed), (n, 1)),
        jnp.tile(packed(seen), (n, 1)),
        option_arrays([options] * n),
        jnp.full(n, seed, jnp.uint32),
        jnp.arange(n, dtype=jnp.int32),
        shifts(n) if shifted else None,
        filtered=True,
    )


@pytest.mark.parametrize(
    ("options", "allowed", "seen"),
    [
        (SamplingOptions(), None, ()),
        (SamplingOptions(temperature=0.6), None, ()),
        (SamplingOptions(temperature=1.7, top_k=9), None, ()),
        (SamplingOptions(top_p=0.8), None, ()),
        (SamplingOptions(min_p=0.1), None, ()),
        (SamplingOptions(repetition_penalty=1.8), None, range(0, V, 3)),
        (SamplingOptions(temperature=1.3, top_k=12, top_p=0.9, min_p=0.02), range(5, 33), ()),
        (SamplingOptions(repetition_penalty=1.4, presence_penalty=0.7, frequency_penalty=-0.4), range(30), (3, 11, 20)),
    ],
    ids=["plain", "temperature", "top_k", "top_p", "min_p", "repetition", "all-masked", "shifted"],
)
def test_frequencies_match_the_distribution(options, allowed, seen):
    n = 6000
    shifted = options.counts_tokens
    out = draws(options, n, allowed, seen, shifted=shifted)
    p = expected(options, allowed, seen, shifted)
    counts = np.bincount(np.asarray(out.token), minlength=V)
    assert counts[p == 0].sum() == 0
    # Pool rare cells so that the chi-square approximation holds; 0.999 quantile by Wilson-Hilferty.
    big = p * n >= 5
    observed = np.append(counts[big], counts[~big].sum())
    wanted = np.append(p[big] * n, p[~big].sum() * n)
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    df = len(wanted) - 1
    limit = df * (1 - 2 / (9 * df) + 3.09 * np.sqrt(2 / (9 * df))) ** 3
    assert ((observed - wanted) ** 2 / wanted).sum() < limit
    np.testing.assert_allclose(np.asarray(out.logprob), np.log(p[np.asarray(out.token)]), atol=2e-4)
    own = LOGITS - np.log(np.exp(LOGITS).sum())
    np.testing.assert_allclose(np.asarray(out.model_logprob), own[np.asarray(out.token)], atol=1e-4)


@pytest.mark.parametrize("spread", [0.02, 0.5, 4.0])  # from flat, where only the full sort decides, to peaked
def test_a_large_vocabulary_is_filtered_exactly(spread):
    rng = np.random.default_rng(1)
    V = 3 * HEAD
    options = [
        SamplingOptions(top_k=k, top_p=p, min_p=m)
        for k in (0, 1, 50, HEAD + 9)
        for p in (1.0, 0.9, 0.3)
        for m in (0.0, 0.2)
    ]
    logits = (spread * rng.normal(size=(len(options), V))).astype(np.float32)
    arrays = option_arrays(options)
    lowest = np.asarray(jax.jit(lowest_kept)(logits, arrays["top_k"], arrays["top_p"], arrays["min_p"]))
    for row, option, least in zip(logits.astype(np.float64), options, lowest, strict=True):
        order = np.argsort(-row)
        p = np.exp(row[order] - row.max())
        p[p < option.min_p] = 0
        if option.top_k:
            p[option.top_k :] = 0
        p /= p.sum()
        above = np.cumsum(p) - p
        # Where the cumulated mass comes within rounding of top_p, either side is right.
        certain = np.count_nonzero((above < option.top_p - 1e-5) & (p > 0))
        possible = np.count_nonzero((above < option.top_p + 1e-5) & (p > 0))
        assert certain <= np.count_nonzero(row >= least) <= possible


def test_what_weighs_nothing_is_never_picked():
    weights = np.zeros((5, 1000), np.float32)
    only = [0, 255, 256, 700, 999]
    weights[range(5), only] = [1e-30, 1.0, 1e20, 3.0, 1e-7]
    for u in (0.0, 0.3, np.nextafter(np.float32(1), np.float32(0))):
        assert np.asarray(pick(weights, jnp.full(5, u, jnp.float32))).tolist() == only


def test_temperature_zero_is_the_best_allowed_token_whatever_the_seed():
    allowed = [int(i) for i in np.argsort(-LOGITS)[5:20]]
    out = draws(SamplingOptions(temperature=0.0, top_k=3, top_p=0.5), 8, allowed)
    assert set(np.asarray(out.token).tolist()) == {allowed[0]}


def test_same_seed_and_position_same_token_in_any_company():
    options = [SamplingOptions(temperature=t) for t in (0.5, 1.0, 2.0)]
    seeds, at = np.asarray([3, 4, 5], np.uint32), np.asarray([10, 20, 30], np.int32)

    def rows(order):
        order = list(order)
        return np.asarray(
            sample_tokens(
                jnp.tile(LOGITS, (len(order), 1)),
                jnp.tile(packed(), (len(order), 1)),
                None,
                option_arrays([options[i] for i in order]),
                seeds[order],
                at[order],
                filtered=True,
            ).token
        )

    together = rows([0, 1, 2])
    assert [int(rows([i])[0]) for i in (2, 0, 1)] == [together[2], together[0], together[1]]


def test_mask_bits_and_padded_vocabulary():
    allowed = [0, 31, 32, 39, 63]
    unpacked = np.asarray(unpack_bitmask(jnp.asarray(packed(allowed))[None], 70))[0]
    assert np.flatnonzero(unpacked).tolist() == allowed


def test_filters_off_equals_the_fast_path():
    n = 64
    args = (
        jax.random.normal(jax.random.key(0), (n, V)),
        jnp.tile(packed(), (n, 1)),
        None,
        option_arrays([SamplingOptions(temperature=0.9)] * n),
        jnp.arange(n, dtype=jnp.uint32),
        jnp.arange(n),
    )
    slow, fast = sample_tokens(*args, filtered=True), sample_tokens(*args, filtered=False)
    assert (slow.token == fast.token).all()


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"top_k": -2}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 2}, {"repetition_penalty": 0}]
)
def test_bad_option_names_itself(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        SamplingOptions(**bad)
