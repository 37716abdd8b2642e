"""Generation under a grammar: append what is forced, sample what is free, and say why it stopped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from polaris_jax.sampling.constraint import Constraint
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.dry import breaker_tokens, dry_penalties
from polaris_jax.sampling.guard import LoopGuard, ProseGuard
from polaris_jax.sampling.options import LogitShifts, SamplingOptions

Reason = Literal["end", "complete", "budget", "loop"]


@dataclass
class Counts:
    """Tokens by origin, added up over a run; ``reused`` are prompt tokens that a cache held already."""

    sampled: int = 0
    forced: int = 0
    prefilled: int = 0
    reused: int = 0


@dataclass(frozen=True)
class Continuation:
    """What was generated.

    Attributes:
      tokens: the ids, forced ones included, without the end token.
      reason: ``end`` (the model sampled ``<|eot_id|>`` where the grammar allows it), ``complete`` (nothing more may
        follow), ``budget`` (the token budget is used up), ``loop`` (the guard saw repetition).
      loop_start: index into history and ``tokens`` together where the repetition began, when ``reason`` is ``loop``.
      logprob: sum of the sampled tokens' log-probabilities under the model itself, nats.
    """

    tokens: list[int]
    reason: Reason
    loop_start: int | None
    logprob: float


def generate(
    cache: DecodeCache,
    constraint: Constraint,
    options: SamplingOptions,
    *,
    seed: int,
    budget: int,
    counts: Counts,
    guard: LoopGuard | ProseGuard | None = None,
    history: Sequence[int] = (),
    on_tokens: Callable[[list[int]], None] = lambda tokens: None,
) -> Continuation:
    """Continues row 0 of ``cache`` until the grammar, the model, the budget or the guard says stop.

    Args:
      cache: a batch of one; afterwards it has read everything that was generated.
      constraint: the state of the grammar; it is advanced.
      seed: seed of every sample, together with its position in the text.
      budget: generation stops after so many tokens, forced ones included, wherever that is.
      counts: the new tokens are added to it.
      guard: watches for repetition and phrases, or None.
      history: earlier tokens of the same text, which the guard also looks at.
      on_tokens: called with the new tokens of each round.
    """
    eot = cache.sampler.tokenizer.eot_id
    ends_match = breaker_tokens(cache.sampler.tokenizer.token_bytes(), options.dry.breakers) if options.dry else None
    tokens: list[int] = []
    unread: list[int] = []
    logprob = 0.0
    loop_start = None
    while True:
        forced = constraint.forced()
        constraint.consume(forced)
        counts.forced += len(forced)
        tokens += forced
        unread += forced
        if unread:
            on_tokens(unread)
        cache.append_generated([unread])  # asynchronous: the mask below is computed while the device reads
        unread = []
        if constraint.finished:
            reason: Reason = "complete"
            break
        if loop_start is not None:
            reason = "loop"
            break
        if len(tokens) >= budget:
            reason = "budget"
            break
        sampled = cache.sample([options], [seed], constraint.mask(), shifts=_dry_shifts(cache, options, ends_match))
        token = int(sampled.token[0])
        counts.sampled += 1
        logprob += float(sampled.model_logprob[0])
        if token == eot:
            reason = "end"
            break
        constraint.consume([token])
        tokens.append(token)
        unread.append(token)
        loop_start = guard.repeats_from([*history, *tokens]) if guard else None
    return Continuation(tokens, reason, loop_start if reason == "loop" else None, logprob)


def _dry_shifts(cache: DecodeCache, options: SamplingOptions, ends_match: np.ndarray | None) -> LogitShifts | None:
    """DRY's penalties for row 0; None if DRY is off."""
    if options.dry is None or ends_match is None:
        return None
    shape = 1, cache.sampler.config.vocab_size
    shifts = LogitShifts(np.zeros(shape, np.float32), np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    penalties = dry_penalties(cache.tokens[0], options.dry, ends_match)
    shifts.dry[0, list(penalties)] = list(penalties.values())
    return shifts
