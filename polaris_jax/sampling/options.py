"""What to draw from a row of logits: the usual sampling options, and one pure function that applies them.

The order and meaning are those of vLLM: repetition penalty, grammar mask, temperature, min-p, top-k, top-p. Every
option is an array ``[B]``, so requests with different options share a batch and no option change recompiles.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class SamplingOptions:
    """How one request draws its tokens.

    Attributes:
      temperature: divides the logits; 0 takes the most probable allowed token.
      top_k: keep the k most probable tokens (ties with the k-th are kept); 0 keeps all.
      top_p: keep the smallest set of most probable tokens with total probability >= top_p; 1 keeps all.
      min_p: drop tokens less probable than ``min_p`` times the most probable one; 0 keeps all.
      repetition_penalty: for every token already in the text, positive logits are divided and negative ones
        multiplied by it (Keskar et al. 2019, eq. in section 4.1); 1 changes nothing.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
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


class Drawn(NamedTuple):
    """One drawn token per row.

    Attributes:
      token: ``[B] int32``.
      logprob: ``[B] float32`` (nats) under the distribution it was drawn from, after penalty, mask, temperature and
        filters; at temperature 0 under the penalised and masked distribution at temperature 1.
      model_logprob: ``[B] float32`` (nats) under the model's own softmax, untouched by options and mask.
    """

    token: jax.Array
    logprob: jax.Array
    model_logprob: jax.Array


def option_arrays(options: Sequence[SamplingOptions]) -> dict[str, np.ndarray]:
    """The options of a batch as arrays ``[B]``, the form ``draw`` takes."""
    rows = [asdict(o) for o in options]
    return {
        f.name: np.asarray([row[f.name] for row in rows], np.int32 if f.name == "top_k" else np.float32)
        for f in fields(SamplingOptions)
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


def filter_logits(logits: jax.Array, top_k: jax.Array, top_p: jax.Array, min_p: jax.Array) -> jax.Array:
    """Tempered logits ``[B, V] float32`` with everything outside min-p, top-k and top-p set to -inf."""
    V = logits.shape[-1]
    probs = jax.nn.softmax(logits, axis=-1)
    logits = jnp.where(probs < min_p[:, None] * probs.max(axis=-1, keepdims=True), -jnp.inf, logits)
    ranked = -jnp.sort(-logits, axis=-1)  # descending
    k = jnp.where(top_k > 0, jnp.minimum(top_k, V), V)
    kth = jnp.take_along_axis(ranked, k[:, None] - 1, axis=-1)
    ranked = jnp.where(ranked < kth, -jnp.inf, ranked)
    ranked_probs = jax.nn.softmax(ranked, axis=-1)
    # A token stays when the mass strictly above it has not yet reached top_p: the first one always does.
    above = jnp.cumsum(ranked_probs, axis=-1) - ranked_probs
    keep = ((above < top_p[:, None]) | (top_p[:, None] >= 1.0)) & (ranked > -jnp.inf)
    lowest = jnp.min(jnp.where(keep, ranked, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < lowest, -jnp.inf, logits)


@partial(jax.jit, static_argnames=("filtered",))
def draw(
    logits: jax.Array,
    mask: jax.Array,
    seen: jax.Array,
    options: dict[str, jax.Array],
    seeds: jax.Array,
    positions: jax.Array,
    *,
    filtered: bool,
) -> Drawn:
    """Draws one token per row.

    Args:
      logits: ``[B, V]``, any float dtype.
      mask: ``[B, ceil(V/32)] int32`` packed bits of the allowed tokens; at least one bit per row.
      seen: ``[B, V] bool``, tokens already in the text (for the repetition penalty).
      options: ``option_arrays`` of the batch.
      seeds: ``[B] uint32``; positions: ``[B] int32``, the place in the text the token will take. The draw is a pure
        function of (logits, options, seed, position): nothing depends on how many draws came before.
      filtered: static; False promises that top_k, top_p and min_p are off and saves the sort.
    """
    raw = logits.astype(jnp.float32)
    masked = jnp.where(
        unpack_bitmask(mask, raw.shape[-1]), penalise(raw, seen, options["repetition_penalty"]), -jnp.inf
    )
    greedy = options["temperature"] == 0.0
    tempered = masked / jnp.where(greedy, 1.0, options["temperature"])[:, None]
    if filtered:
        kept = filter_logits(tempered, options["top_k"], options["top_p"], options["min_p"])
        tempered = jnp.where(greedy[:, None], tempered, kept)
    keys = jax.vmap(lambda seed, at: jax.random.fold_in(jax.random.key(seed), at))(seeds, positions)
    sampled = jax.vmap(jax.random.categorical)(keys, tempered)
    token = jnp.where(greedy, jnp.argmax(masked, axis=-1), sampled).astype(jnp.int32)

    def at_token(x):
        return jnp.take_along_axis(jax.nn.log_softmax(x, axis=-1), token[:, None], axis=-1)[:, 0]

    return Drawn(token, at_token(tempered), at_token(raw))
