"""Greedy continuations on held-out authors: whether and where they begin to repeat.

Every trajectory, in the run's own variant, is cut shortly after its last chapter has begun, and the model continues it.
Greedy decoding shows loops first. The hyperfitting claim (Carlsson et al., 2024) is about it: with more epochs,
held-out loss is worse and open-ended text is better.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from polaris_jax.data import TokenStore, Trajectory
from polaris_jax.sampling import Engine, GenerationRequest, LoopGuard, Sampler, SamplingOptions
from polaris_jax.studies.style.repetition import distinct, repeated_share
from polaris_jax.trajectory import KINDS

OPENING = 32  # tokens of the author's own prose before the continuation
_GUARD = LoopGuard()


@dataclass(frozen=True)
class FreeRun:
    """One continuation.

    Attributes:
      document: index of its trajectory in the store.
      tokens: number of tokens.
      distinct_4, repeated_12: distinct-4 and the share of repeated 12-grams, over tokens.
      loop_at: share of the text before the first loop (1 without a loop).
    """

    document: int
    text: str
    tokens: int
    distinct_4: float
    repeated_12: float
    loop_at: float

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self)


def free_runs(
    sampler: Sampler,
    store: TokenStore,
    documents: Sequence[int] | np.ndarray,
    tokens: int,
    *,
    slots: int = 4,
    seed: int = 0,
) -> list[FreeRun]:
    """Greedy continuations of ``tokens`` tokens; the end-of-turn is ignored, so that all have the same length.

    Trajectories whose opening leaves too little of the sampler's window are left out.
    """
    openings = [(int(d), _opening(store.read(int(d)))) for d in documents]
    kept = [(d, prompt) for d, prompt in openings if prompt and len(prompt) + tokens <= sampler.max_length]
    requests = [
        GenerationRequest(prompt, SamplingOptions(temperature=0.0), seed=seed, max_tokens=tokens, ignore_eos=True)
        for _, prompt in kept
    ]
    done = Engine(sampler, min(slots, max(1, len(requests)))).generate(requests)
    return [
        _describe(document, list(one.tokens), sampler.tokenizer.decode(list(one.tokens)))
        for (document, _), one in zip(kept, done, strict=True)
    ]


def _opening(trajectory: Trajectory) -> list[int]:
    """Tokens up to ``OPENING`` tokens into the last chapter's prose."""
    prose = trajectory.kinds == KINDS.index("prose")
    starts = np.flatnonzero(prose & ~np.concatenate([[False], prose[:-1]]))
    return trajectory.tokens[: int(starts[-1]) + OPENING].tolist() if len(starts) else []


def _describe(document: int, tokens: list[int], text: str) -> FreeRun:
    loop = _GUARD.first_loop(tokens)
    return FreeRun(
        document,
        text,
        len(tokens),
        distinct(tokens, 4),
        repeated_share(tokens, 12),
        1.0 if loop is None else loop / len(tokens),
    )
