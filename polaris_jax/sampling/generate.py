"""Writing one stretch of text under a grammar: force what is certain, draw what is open, stop for a reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from polaris_jax.sampling.constraint import Constraint
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.session import Session

Reason = Literal["end", "complete", "budget", "loop"]


@dataclass
class Counts:
    """Tokens by how they came about, added up over a run; reused are those of prompts that a cache held already."""

    sampled: int = 0
    forced: int = 0
    prefilled: int = 0
    reused: int = 0


@dataclass(frozen=True)
class Stretch:
    """What was written.

    Attributes:
      tokens: the ids, forced ones included, without the end token.
      reason: ``end`` (the model drew ``<|eot_id|>`` where the grammar allows it), ``complete`` (nothing more may
        follow), ``budget`` (the token budget is used up), ``loop`` (the guard saw repetition).
      loop_start: index into history and ``tokens`` together where the repetition began, when ``reason`` is ``loop``.
      logprob: sum of the drawn tokens' log-probabilities under the model itself, nats.
    """

    tokens: list[int]
    reason: Reason
    loop_start: int | None
    logprob: float


def generate(
    session: Session,
    constraint: Constraint,
    options: SamplingOptions,
    *,
    seed: int,
    budget: int,
    counts: Counts,
    guard: LoopGuard | None = None,
    history: Sequence[int] = (),
    on_tokens: Callable[[list[int]], None] = lambda tokens: None,
) -> Stretch:
    """Continues row 0 of ``session`` until the grammar, the model, the budget or the guard says stop.

    Args:
      session: a batch of one; afterwards it has read everything that was written.
      constraint: where the grammar stands; it is moved along.
      seed: of every draw; the place in the text does the rest.
      budget: tokens, forced ones included, after which to stop wherever that is.
      counts: gets this stretch's tokens added.
      guard: watches for repetition, or None.
      history: tokens of the same text before this stretch, which the guard also looks at.
      on_tokens: told about tokens as they are settled.
    """
    eot = session.sampler.tokenizer.eot_id
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
        session.append([unread])  # asynchronous: the mask below is computed while the device reads
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
        drawn = session.draw([options], [seed], constraint.mask())
        token = int(drawn.token[0])
        counts.sampled += 1
        logprob += float(drawn.model_logprob[0])
        if token == eot:
            reason = "end"
            break
        constraint.consume([token])
        tokens.append(token)
        unread.append(token)
        loop_start = guard.repeats_from([*history, *tokens]) if guard else None
    return Stretch(tokens, reason, loop_start, logprob)
