"""DRY, XTC and typical sampling: each beside its definition written with loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from sampling_models import small_sampler

from polaris_jax.errors import InputError
from polaris_jax.sampling import DryOptions, Engine, GenerationRequest, SamplingOptions
from polaris_jax.sampling.dry import breaker_tokens, dry_penalties
from polaris_jax.sampling.options import exclude_top_choices, keep_typical, option_arrays, sample_tokens

V = 40
LOGITS = np.asarray(2.0 * np.random.default_rng(0).normal(size=V), np.float32)


def probabilities(x):
    p = np.exp(x - x.max())
    return p / p.sum()


def typical_reference(x, mass):
    """Meister et al. 2022: tokens by distance of their information to the entropy, until their mass is enough."""
    p = probabilities(x)
    entropy = -sum(q * np.log(q) for q in p if q > 0)
    order = sorted(range(len(p)), key=lambda i: abs(-np.log(p[i]) - entropy) if p[i] > 0 else np.inf)
    kept, total = set(), 0.0
    for i in order:
        if total >= mass:
            break
        kept.add(i)
        total += p[i]
    return kept


def xtc_reference(x, threshold):
    """Of all tokens at least ``threshold`` probable only the least probable stays."""
    p = probabilities(x)
    top = sorted((i for i in range(len(p)) if p[i] >= threshold), key=lambda i: -p[i])
    return set(range(len(p))) - set(top[:-1])


def kept(logits):
    return {int(i) for i in np.flatnonzero(np.isfinite(np.asarray(logits)))}


@pytest.mark.parametrize("mass", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_typical_sampling_keeps_what_its_definition_keeps(mass):
    rows = np.random.default_rng(1).normal(size=(16, V)).astype(np.float32) * np.linspace(0.3, 4, 16)[:, None]
    rows[3, 10:] = -np.inf  # what a mask has left out stays out
    found = keep_typical(jnp.asarray(rows, jnp.float32), jnp.full(16, mass, jnp.float32))
    for row, logits in zip(found, rows.astype(np.float64), strict=True):
        assert kept(row) == typical_reference(logits, mass)
    assert (keep_typical(jnp.asarray(rows, jnp.float32), jnp.ones(16)) == rows.astype(np.float32)).all()


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3, 0.6])
def test_xtc_leaves_out_what_its_definition_leaves_out(threshold):
    rows = np.random.default_rng(2).normal(size=(16, V)).astype(np.float32) * np.linspace(0.3, 4, 16)[:, None]
    rows = jnp.asarray(rows, jnp.float32)
    ones = jnp.ones(16)
    happens = exclude_top_choices(rows, ones * 0.5, ones * threshold, ones * 0.49)
    for row, logits in zip(happens, np.asarray(rows, np.float64), strict=True):
        assert kept(row) == xtc_reference(logits, threshold)
    assert (exclude_top_choices(rows, ones * 0.5, ones * threshold, ones * 0.5) == rows).all()


def draws(options, n=20_000):
    return sample_tokens(
        jnp.tile(LOGITS, (n, 1)),
        jnp.full((n, -(-V // 32)), -1, jnp.int32),
        None,
        option_arrays([options] * n),
        jnp.full(n, 7, jnp.uint32),
        jnp.arange(n, dtype=jnp.int32),
        filtered=options.filters,
        reshaped=options.reshapes,
    )


@pytest.mark.parametrize(
    "options",
    [SamplingOptions(typical_p=0.5), SamplingOptions(0.7, xtc_probability=0.5, xtc_threshold=0.05)],
    ids=["typical", "xtc"],
)
def test_draws_follow_the_distribution_that_is_left(options):
    x = LOGITS.astype(np.float64) / options.temperature
    p = probabilities(x)
    if options.typical_p < 1:
        want = np.where([i in typical_reference(x, options.typical_p) for i in range(V)], p, 0)
    else:
        rest = np.where([i in xtc_reference(x, options.xtc_threshold) for i in range(V)], p, 0)
        want = p / p.sum() * (1 - options.xtc_probability) + rest / rest.sum() * options.xtc_probability
    want = want / want.sum()
    n = 20_000
    found = np.bincount(np.asarray(draws(options, n).token), minlength=V) / n
    # Six standard deviations of a share of n draws.
    assert (np.abs(found - want) <= 6 * np.sqrt(want * (1 - want) / n) + 1e-9).all()
    greedy = draws(SamplingOptions(0.0, typical_p=options.typical_p, xtc_probability=1.0), 1)
    assert int(greedy.token[0]) == int(LOGITS.argmax())


def dry_reference(tokens, options, breakers):
    """Every earlier place where the end of the text has stood already, match by match."""
    text = tokens[-options.last_tokens :] if options.last_tokens else tokens
    longest = {}
    for at in range(len(text) - 1):
        length = 0
        while length <= at and text[at - length] == text[-1 - length] and text[at - length] not in breakers:
            length += 1
        if length:
            longest[text[at + 1]] = max(longest.get(text[at + 1], 0), length)
    return {
        token: options.multiplier * options.base ** (length - options.allowed_length)
        for token, length in longest.items()
        if length >= options.allowed_length
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [DryOptions(0.8), DryOptions(1.5, 2.0, 1, 20), DryOptions(0.5, 1.2, 3)])
def test_dry_penalises_what_prolongs_a_repetition(seed, options):
    rng = np.random.default_rng(seed)
    for size in (0, 1, 2, 5, 30, 60):
        tokens = rng.integers(0, 4, size).tolist()
        ends = np.zeros(6, bool)
        ends[3] = seed % 2
        found = dry_penalties(tokens, options, ends)
        assert found == pytest.approx(dry_reference(tokens, options, {3} if seed % 2 else set()))


def test_a_breaker_is_any_token_that_contains_one():
    found = breaker_tokens([b"a", b"a\n", b'"', b"\xe2\x80\x9c", b""], ("\n", '"'))
    assert found.tolist() == [False, True, True, False, False]


def test_dry_keeps_a_greedy_text_from_repeating_itself(model, tokenizer):
    """A random model falls into a loop when it is greedy; with DRY no run of tokens is prolonged for ever."""
    engine = Engine(small_sampler(model, tokenizer), 2)
    prompt = tokenizer.encode("The keeper of the tide book").tolist()

    def longest_repetition(dry):
        options = SamplingOptions(0.0, dry=dry)
        request = GenerationRequest(prompt, options, max_tokens=80, ignore_eos=True)
        tokens = engine.generate([request])[0].tokens
        return max(
            (
                n
                for n in range(1, 40)
                for at in range(len(tokens) - n)
                if tokens[at : at + n] in [tokens[later : later + n] for later in range(at + 1, len(tokens) - n + 1)]
            ),
            default=0,
        )

    assert longest_repetition(DryOptions(5.0, 3.0, 2, breakers=())) < 10 < longest_repetition(None)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"typical_p": 0.0}, "typical_p"),
        ({"xtc_probability": 1.5}, "xtc_probability"),
        ({"xtc_threshold": -0.1}, "xtc_threshold"),
    ],
)
def test_bad_options_are_refused(fields, name):
    with pytest.raises(InputError, match=name):
        SamplingOptions(**fields)


@pytest.mark.parametrize("fields", [(0.0,), (1.0, 0.5), (1.0, 1.5, 0), (1.0, 1.5, 2, -1), (1.0, 1.5, 2, 0, ("",))])
def test_bad_dry_options_are_refused(fields):
    with pytest.raises(InputError, match="dry_"):
        DryOptions(*fields)
