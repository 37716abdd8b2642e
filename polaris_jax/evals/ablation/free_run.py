"""Free-running greedy text on held-out authors: does it fall into repetition, and where?

Every trajectory is cut shortly after its last chapter has begun, in the arm's own form, and the model goes on alone.
Greedy decoding is where loops show first, and what the hyperfitting claim (Carlsson et al., 2024) is about: more
epochs, worse held-out loss, better open-ended text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from polaris_jax.data import TokenStore, Trajectory
from polaris_jax.evals.style.repetition import distinct, repeated_share
from polaris_jax.sampling import Engine, GenerationRequest, LoopGuard, Sampler, SamplingOptions
from polaris_jax.trajectory import KINDS

OPENING = 32  # tokens of the author's own prose before the model goes on
_GUARD = LoopGuard()


@dataclass(frozen=True)
class FreeRun:
    """One continuation: its text, and over its tokens distinct-4, the share of repeated 12-grams, the share of the text
    before the first loop (1: none)."""

    document: int
    text: str
    tokens: int
    distinct_4: float
    repeated_12: float
    loop_at: float

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self)


def free_runs(sampler: Sampler, store: TokenStore, documents: Sequence[int], tokens: int, *,
              slots: int = 4, seed: int = 0) -> list[FreeRun]:  # fmt: skip
    """Greedy continuations of ``tokens`` tokens; the end-of-turn is not obeyed, so that all have the same length.

    Trajectories whose opening leaves no room in the sampler's window are left out.
    """
    wanted = [(int(d), _opening(store.read(int(d)))) for d in documents]
    wanted = [(d, prompt) for d, prompt in wanted if prompt and len(prompt) + tokens <= sampler.max_length]
    requests = [GenerationRequest(prompt, SamplingOptions(temperature=0.0), seed=seed, max_tokens=tokens,
                                  ignore_eos=True) for _, prompt in wanted]  # fmt: skip
    done = Engine(sampler, min(slots, max(1, len(requests)))).generate(requests)
    return [_describe(document, list(one.tokens), sampler.tokenizer.decode(list(one.tokens)))
            for (document, _), one in zip(wanted, done, strict=True)]  # fmt: skip


def _opening(trajectory: Trajectory) -> list[int]:
    """Tokens up to ``OPENING`` tokens into the last chapter's prose."""
    prose = trajectory.kinds == KINDS.index("prose")
    starts = np.flatnonzero(prose & ~np.concatenate([[False], prose[:-1]]))
    return trajectory.tokens[: int(starts[-1]) + OPENING].tolist() if len(starts) else []


def _describe(document: int, tokens: list[int], text: str) -> FreeRun:
    loop = _GUARD.first_loop(tokens)
    return FreeRun(document, text, len(tokens), distinct(tokens, 4), repeated_share(tokens, 12),
                   1.0 if loop is None else loop / len(tokens))
