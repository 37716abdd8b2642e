"""Judge replies under the rubric, for the tests."""

import json

from polaris_jax.rewards.dimensions import DIMENSIONS, NEGATIVE, POSITIVE


def answer(positive=10, negative=2, bonus=0, penalty=0, **changes):
    """A judge's answer: the same score everywhere but for ``changes`` (keys of the JSON), totals added up."""
    scores = {d.score_key: positive for d in POSITIVE} | {d.score_key: min(negative, d.most) for d in NEGATIVE}
    scores |= {"bonus_score": bonus, "penalty_score": penalty}
    p = sum(scores[d.score_key] for d in POSITIVE)
    n = sum(scores[d.score_key] for d in NEGATIVE)
    return (
        scores
        | {
            "positive_total": p,
            "negative_total": n,
            "bonus_total": bonus,
            "penalty_total": penalty,
            "overall_score": p - n + bonus - penalty,
        }
        | changes
    )


def reply(**fields):
    """``answer`` as text."""
    return json.dumps(answer(**fields))


def brief(positive=10, negative=2):
    """An answer to the brief rubric, as text."""
    return json.dumps(
        {
            d.id: 0 if d.id in ("BONUS", "PENALTY") else positive if d.sign > 0 else min(negative, d.most)
            for d in DIMENSIONS
        }
    )


STORY = " ".join(f"word{i}" for i in range(1000))
PROMPT = "Write a story about a bridge. Your story should be approximately 1000 words long."
