"""Sampling from logits: the usual options, and one pure function that applies them.

The order and meaning are those of vLLM: logit bias, repetition penalty, frequency and presence penalty, grammar mask,
temperature, min-p, top-k, top-p. Typical sampling and XTC, which vLLM lacks, come last, as in text-generation-webui.
Every option is an array ``[B]``, so requests with different options share a batch, and other values compile nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.sampling.dry import DryOptions

HEAD = 1024
PICK_BLOCK = 256


@dataclass(frozen=True)
class SamplingOptions:
    """How the tokens of one request are sampled.

    Attributes:
      temperature: divides the logits; 0 takes the most probable allowed token.
      top_k: keep the k most probable tokens (ties with the k-th are kept); 0 keeps all.
      top_p: keep the smallest set of most probable tokens with total probability >= top_p; 1 keeps all.
      min_p: drop tokens less probable than ``min_p`` times the most probable one; 0 keeps all.
      repetition_penalty: for every token already in the text, positive logits are divided and negative ones
        multiplied by it (Keskar et al. 2019, eq. in section 4.1); 1 changes nothing.
      presence_penalty: subtracted from the logit of every token that was generated before, prompt left out; 0 is off.
      frequency_penalty: subtracted from a token's logit once for each time it was generated before; 0 is off.
      typical_p: keep the tokens whose information is nearest to the entropy of the distribution, up to this total
        probability (Meister et al. 2022, "Locally typical sampling", eq. 8); 1 keeps all.
      xtc_probability: how often the most probable tokens are left out (XTC, "exclude top choices"; Weidmann,
        text-generation-webui pull request 6335, 2024); 0 is off.
      xtc_threshold: then only the least probable of all tokens at least this probable is kept; above 0.5 it is off.
      dry: penalty on prolonged repetitions, or None.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry: DryOptions | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise InputError("temperature", self.temperature, "use 0 (greedy) or a positive number")
        if self.top_k != int(self.top_k) or self.top_k < 0:
            raise InputError("top_k", self.top_k, "use 0 (off) or a positive whole number")
        if not 0.0 < self.top_p <= 1.0:
            raise InputError("top_p", self.top_p, "use a number above 0 and at most 1 (off)")
        if not 0.0 <= self.min_p <= 1.0:
            raise InputError("min_p", self.min_p, "use a number from 0 (off) to 1")
        if not 0.0 < self.repetition_penalty < float("inf"):
            raise InputError("repetition_penalty", self.repetition_penalty, "use a positive number; 1 is off")
        if not 0.0 < self.typical_p <= 1.0:
            raise InputError("typical_p", self.typical_p, "use a number above 0 and at most 1 (off)")
        for name in ("xtc_probability", "xtc_threshold"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(name, getattr(self, name), "use a number from 0 to 1")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2.0 <= getattr(self, name) <= 2.0:
                raise InputError(name, getattr(self, name), "use a number from -2 to 2; 0 is off")

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters how often a token was generated."""
        return self.presence_penalty != 0.0 or self.frequency_penalty != 0.0

    @property
    def filters(self) -> bool:
        """Whether some tokens are left out."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0

    @property
    def reshapes(self) -> bool:
        """Whether typical sampling or XTC leaves tokens out."""
        return self.typical_p < 1.0 or self.xtc_probability > 0.0


class LogitShifts(NamedTuple):
    """Values that are added to or subtracted from single logits.

    Attributes:
      bias: ``[B, V] float32``.
      counts: ``[B, V] int32``, how often each token was generated in the text, prompt left out.
      dry: ``[B, V] float32``, subtracted from the logits (``dry.dry_penalties``).
    """

    bias: jax.Array | np.ndarray
    counts: jax.Array | np.ndarray
    dry: jax.Array | np.ndarray


class SampledTokens(NamedTuple):
    """One sampled token per row.

    Attributes:
      token: ``[B] int32``.
      logprob: ``[B] float32`` (nats) under the distribution it was sampled from, after penalty, mask, temperature and
        filters; at temperature 0 under the penalised and masked distribution at temperature 1.
      model_logprob: ``[B] float32`` (nats) under the model's own softmax, untouched by options and mask.
      top_tokens: ``[B, top] int32``, the model's own most probable tokens, best first.
      top_logprobs: ``[B, top] float32`` (nats), their log-probabilities.
    """

    token: jax.Array
    logprob: jax.Array
    model_logprob: jax.Array
    top_tokens: jax.Array
    top_logprobs: jax.Array


def option_arrays(options: Sequence[SamplingOptions]) -> dict[str, np.ndarray]:
    """The options of a batch as arrays ``[B]``, the form ``sample_tokens`` takes."""
    names = (f.name for f in fields(SamplingOptions) if f.name != "dry")  # DRY is computed on the host
    return {
        name: np.asarray([getattr(o, name) for o in options], np.int32 if name == "top_k" else np.float32)
        for name in names
    }


def unpack_bitmask(words: jax.Array, vocab: int) -> jax.Array:
    """Token masks ``[B, ceil(V/32)] int32`` (bit i of word w = token 32w+i) as booleans ``[B, vocab]``.

    Tokens beyond the last word are not allowed: a model's logits may be padded past the tokenizer's vocabulary.
    """
    bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.int32)) & 1
    bits = bits.reshape(words.shape[0], -1).astype(bool)[:, :vocab]
    return jnp.pad(bits, ((0, 0), (0, vocab - bits.shape[1])))


def penalise(logits: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Repetition penalty; ``logits, seen: [B, V]`` (seen bool), ``penalty: [B]``."""
    penalty = penalty[:, None]
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def lowest_kept(logits: jax.Array, top_k: jax.Array, top_p: jax.Array, min_p: jax.Array) -> jax.Array:
    """The smallest tempered logit that min-p, top-k and top-p keep, ``[B, V] float32 → [B]``.

    Sorting a whole vocabulary is slow, and its ``HEAD`` best tokens almost always decide. A row takes the answer of the
    full sort only if they do not decide its own, so that it does not depend on the other rows.
    """
    V = logits.shape[-1]
    best = logits.max(axis=-1, keepdims=True)
    floor = (best + jnp.log(min_p)[:, None])[:, 0]  # min_p 0: -inf
    k = jnp.where(top_k > 0, jnp.minimum(top_k, V), V)

    def from_ranked(ranked: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The answer, if the best tokens in falling order ``ranked [B, K]`` decide it, and whether they do."""
        K = ranked.shape[-1]
        kth = jnp.take_along_axis(ranked, jnp.minimum(k, K)[:, None] - 1, axis=-1)[:, 0]
        least = jnp.where(k < V, jnp.maximum(kth, floor), floor)[:, None]
        mass = jnp.sum(jnp.exp(logits - best), axis=-1, where=logits >= least, keepdims=True)
        weights = jnp.where(ranked >= least, jnp.exp(ranked - best), 0.0)
        # A token stays when the mass strictly above it has not yet reached top_p: the first one always does.
        above = jnp.cumsum(weights, axis=-1) - weights
        keep = (above < top_p[:, None] * mass) & (weights > 0)
        lowest = jnp.min(jnp.where(keep, ranked, jnp.inf), axis=-1)
        enough = weights.sum(axis=-1) >= top_p * mass[:, 0]
        decided = ((k <= K) | (k == V)) & (enough | (ranked[:, -1] < least[:, 0]) | (top_p >= 1.0))
        return jnp.where(top_p < 1.0, lowest, least[:, 0]), decided

    # Without the barrier the compiler fuses the code below into the selection, and sorts the vocabulary after all. The
    # barrier is around the values only: around a whole top_k, XLA's CPU compiler crashes on several devices.
    head = jax.lax.optimization_barrier(jax.lax.top_k(logits, min(HEAD, V))[0])
    lowest, decided = from_ranked(head)
    if V <= HEAD:
        return lowest
    slow = jax.lax.cond(decided.all(), lambda: lowest, lambda: from_ranked(-jnp.sort(-logits, axis=-1))[0])
    return jnp.where(decided, lowest, slow)


def keep_typical(logits: jax.Array, typical_p: jax.Array) -> jax.Array:
    """Locally typical sampling on tempered logits: ``[B, V] float32, [B] → [B, V]``, -inf where a token is left out."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    p = jnp.exp(log_p)
    entropy = -jnp.sum(jnp.where(p > 0, p * log_p, 0.0), axis=-1, keepdims=True)
    distance = jnp.abs(-log_p - entropy)
    order = jnp.argsort(distance, axis=-1)
    ranked = jnp.take_along_axis(p, order, axis=-1)
    above = jnp.cumsum(ranked, axis=-1) - ranked
    keep = (above < typical_p[:, None]) & (ranked > 0)
    farthest = jnp.max(jnp.where(keep, jnp.take_along_axis(distance, order, axis=-1), -jnp.inf), axis=-1)
    left_out = (distance > farthest[:, None]) & (typical_p < 1.0)[:, None]
    return jnp.where(left_out, -jnp.inf, logits)


def exclude_top_choices(logits: jax.Array, probability: jax.Array, threshold: jax.Array, u: jax.Array) -> jax.Array:
    """XTC on tempered logits: ``[B, V] float32``, the rest ``[B]``; ``u`` in [0, 1) decides whether it happens.

    Of tokens that are equally least probable among the top choices, all stay.
    """
    p = jax.nn.softmax(logits, axis=-1)
    top = p >= threshold[:, None]
    least = jnp.min(jnp.where(top, p, jnp.inf), axis=-1, keepdims=True)
    return jnp.where((u < probability)[:, None] & top & (p > least), -jnp.inf, logits)


def pick(weights: jax.Array, u: jax.Array) -> jax.Array:
    """Index ``i`` with probability ``weights[i] / sum``: ``weights [B, V]`` of at least 0, ``u [B]`` in [0, 1).

    Inverts the cumulative sum, first over blocks, then inside one block, with one random number per row. An index with
    weight 0 is never picked, whatever the rounding.
    """
    B, V = weights.shape
    blocks = jnp.pad(weights, ((0, 0), (0, -V % PICK_BLOCK))).reshape(B, -1, PICK_BLOCK)

    def first_above(sums: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.argmax(sums > jnp.minimum(t, sums[:, -1] * (1 - 2e-7))[:, None], axis=-1)

    sums = jnp.cumsum(blocks.sum(axis=-1), axis=-1)
    block = first_above(sums, u * sums[:, -1])
    before = jnp.take_along_axis(sums, block[:, None], axis=-1)[:, 0]
    inside = jnp.cumsum(jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0], axis=-1)
    return block * PICK_BLOCK + first_above(inside, u * sums[:, -1] - (before - inside[:, -1]))


@partial(jax.jit, static_argnames=("filtered", "reshaped", "top"))
def sample_tokens(
    logits: jax.Array,
    mask: jax.Array,
    seen: jax.Array | None,
    options: dict[str, jax.Array],
    seeds: jax.Array,
    positions: jax.Array,
    shifts: LogitShifts | None = None,
    *,
    filtered: bool,
    reshaped: bool = False,
    top: int = 0,
) -> SampledTokens:
    """Samples one token per row.

    Args:
      logits: ``[B, V]``, any float dtype.
      mask: ``[B, ceil(V/32)] int32`` packed bits of the allowed tokens; at least one bit per row.
      seen: ``[B, ceil(V/32)] int32`` packed bits of the tokens already in the text; None promises that the repetition
        penalty is off.
      options: ``option_arrays`` of the batch.
      seeds: ``[B] uint32``; positions: ``[B] int32``, the place in the text that the token will take. The sample is a
        pure function of (logits, options, seed, position), whatever was sampled before.
      shifts: logit bias, counts and DRY; None promises no bias and no penalty except the repetition penalty.
      filtered: static; False promises that top_k, top_p and min_p are off and saves the sort.
      reshaped: static; False promises that typical sampling and XTC are off and saves their work.
      top: static; how many of the model's most probable tokens to name.
    """
    raw = logits.astype(jnp.float32)
    V, masked = raw.shape[-1], raw
    if shifts is not None:
        masked += shifts.bias
    if seen is not None:
        masked = penalise(masked, unpack_bitmask(seen, V), options["repetition_penalty"])
    if shifts is not None:
        masked -= options["frequency_penalty"][:, None] * shifts.counts
        masked -= options["presence_penalty"][:, None] * (shifts.counts > 0)
        masked -= shifts.dry
    masked = jnp.where(unpack_bitmask(mask, V), masked, -jnp.inf)
    greedy = options["temperature"] == 0.0
    tempered = masked / jnp.where(greedy, 1.0, options["temperature"])[:, None]
    if filtered:
        lowest = lowest_kept(tempered, options["top_k"], options["top_p"], options["min_p"])
        tempered = jnp.where(greedy[:, None] | (tempered >= lowest[:, None]), tempered, -jnp.inf)
    keys = jax.vmap(lambda seed, at: jax.random.fold_in(jax.random.key(seed), at))(seeds, positions)
    u = jax.vmap(jax.random.uniform)(keys)
    if reshaped:
        chance = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys)
        kept = keep_typical(tempered, options["typical_p"])
        kept = exclude_top_choices(kept, options["xtc_probability"], options["xtc_threshold"], chance)
        tempered = jnp.where(greedy[:, None], tempered, kept)
    sampled = pick(jnp.exp(tempered - tempered.max(axis=-1, keepdims=True)), u)
    token = jnp.where(greedy, jnp.argmax(masked, axis=-1), sampled).astype(jnp.int32)

    def at_token(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(x, token[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(x, axis=-1)

    best, which = jax.lax.optimization_barrier(jax.lax.top_k(raw, top))
    best -= jax.nn.logsumexp(raw, axis=-1, keepdims=True)
    return SampledTokens(token, at_token(tempered), at_token(raw), which.astype(jnp.int32), best)
