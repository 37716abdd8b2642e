"""Pairwise comparison: two stories on one prompt, nine criteria, every pair asked in both orders.

The judge names a winner per criterion and how clear it is (one to five plus signs, no draws). The sum of the signs
gives the verdict, as published: 10 ahead is a clear win (1 point), anything ahead a narrow one (0.75).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from polaris_jax.evals.benches.bench import Ask, Unusable, json_object, object_schema
from polaris_jax.evals.benches.score_lines import describe
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.ratings.games import Game

CRITERIA = {
    "character_authenticity_insight": "people who are true, seen from inside",
    "interesting_original": "ideas, turns and images one has not met before",
    "writing_quality": "sentences, rhythm, control",
    "coherence": "it holds together in sense, time and cause",
    "instruction_following": "it does what the prompt asks",
    "world_and_atmosphere": "a place one could stand in",
    "avoids_cliches": "the less stock wording and plot, the better",
    "avoids_verbosity": "the fewer wasted words, the better",
    "avoids_poetic_overload": "the fewer strained or piled-up figures, the better",
}
CLEAR = 10  # plus signs ahead
MOST_SIGNS = 5 * len(CRITERIA)
POINTS = {"A>>B": 1.0, "A>B": 0.75, "tie": 0.5, "B>A": 0.25, "B>>A": 0.0}
VERSION = "1"
_GRADES = [f"{who}{'+' * count}" for who in "AB" for count in range(1, 6)]
_GRADE = re.compile(r"^\s*([AB])\s*(\+*)\s*$", re.IGNORECASE)
_TASK = """Two writers answered the same prompt. Decide criterion by criterion who did it better. The order in which you
see them means nothing, and a longer piece is not a better one.

PROMPT
{prompt}

PIECE A
{a}

END OF PIECE A

PIECE B
{b}

END OF PIECE B

Criteria:
{criteria}

For each criterion write the better piece, A or B, and one to five plus signs for how clear the difference is:
"A+" barely, "B+++++" beyond any doubt. There are no draws. Reason first. Answer with a JSON object with the keys
"chain_of_thought_reasoning", {keys}."""
_SCHEMA = object_schema(
    {"chain_of_thought_reasoning": {"type": "string"}} | {key: {"enum": _GRADES} for key in CRITERIA}
)


@dataclass(frozen=True)
class Verdict:
    """What one judgement says about the story in place A.

    Attributes:
      plus_a, plus_b: plus signs for either story.
      winners: criterion key → ``A`` or ``B``.
    """

    plus_a: int
    plus_b: int
    winners: Mapping[str, str]

    @property
    def plus_diff(self) -> int:
        return self.plus_a - self.plus_b

    @property
    def verdict(self) -> str:
        """One of the keys of ``POINTS``."""
        diff = self.plus_diff
        if diff == 0:
            return "tie"
        if diff > 0:
            return "A>>B" if diff >= CLEAR else "A>B"
        return "B>A" if diff > -CLEAR else "B>>A"

    @property
    def score_a(self) -> float:
        """Points of the story in place A, 0-1."""
        return POINTS[self.verdict]


def read_verdict(answer: str | Mapping[str, Any], *, as_released: bool = False) -> Verdict:
    """The verdict in a judge's answer; criteria without a readable grade are left out.

    Args:
      as_released: an answer that cannot be read is a tie, as in the published code. By default it is no answer.

    Raises:
      Unusable: nothing can be read.
    """
    try:
        given = json_object(answer)
    except Unusable:
        if as_released:
            return Verdict(0, 0, {})
        raise
    plus, winners = {"A": 0, "B": 0}, {}
    for key in CRITERIA:
        grade = _GRADE.match(value) if isinstance(value := given.get(key), str) else None
        if grade:
            winners[key] = grade[1].upper()
            plus[winners[key]] += len(grade[2])
    if not winners and not as_released:
        raise Unusable("no criterion has a grade")
    return Verdict(plus["A"], plus["B"], winners)


def pair_ask(first: Generation, second: Generation) -> Ask:
    """The comparison with ``first`` in place A."""
    text = _TASK.format(
        prompt=first.prompt, a=first.story, b=second.story, keys=", ".join(f'"{key}"' for key in CRITERIA),
        criteria=describe(CRITERIA),
    )  # fmt: skip
    return Ask("pair", (("user", text),), _SCHEMA)


def pairs(generations: Sequence[Generation]) -> list[tuple[Generation, Generation]]:
    """Every two models on every prompt that both answered, in the order of the input."""
    by_id: dict[str, list[Generation]] = {}
    for one in generations:
        by_id.setdefault(one.id, []).append(one)
    return [pair for group in by_id.values() for pair in combinations(group, 2) if pair[0].model != pair[1].model]


def games(judgements: Sequence[Mapping[str, Any]], orders: str = "both") -> list[Game]:
    """One game per pair and prompt from its judgements in both orders; their points are averaged.

    Args:
      judgements: with ``id``, ``a``, ``b`` (models in their places), ``score`` (points of ``a``); several judges' and
        samples' judgements of a pair are averaged per order first.
      orders: ``both`` drops a pair that was judged in one order only, since it would carry the judge's bias for a
        place; ``any`` keeps it.
    """
    points: dict[tuple[str, str, str], dict[bool, list[float]]] = {}
    for row in judgements:
        swapped = row["a"] > row["b"]
        first, second = sorted((row["a"], row["b"]))
        score = 1 - row["score"] if swapped else row["score"]
        points.setdefault((row["id"], first, second), {}).setdefault(swapped, []).append(score)
    return [
        Game(first, second, sum(sum(s) / len(s) for s in by_order.values()) / len(by_order), name)
        for (name, first, second), by_order in points.items()
        if orders == "any" or len(by_order) == 2
    ]


def place_bias(judgements: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean points of place A minus one half, over judgements in both orders: 0 without a bias for a place."""
    scores = [row["score"] for row in judgements]
    return sum(scores) / len(scores) - 0.5 if scores else None


def count_results(judgements: Sequence[Mapping[str, Any]], player: str) -> dict[str, float]:
    """The published aggregate from ``player``'s side: wins, losses, ties per judgement and mean difference of signs.

    Args:
      judgements: with ``a``, ``b`` and ``plus_diff`` (place A minus place B).
    """
    diffs = [row["plus_diff"] if row["a"] == player else -row["plus_diff"] for row in judgements
             if player in (row["a"], row["b"])]  # fmt: skip
    return {
        "wins": sum(d > 0 for d in diffs), "losses": sum(d < 0 for d in diffs), "ties": sum(d == 0 for d in diffs),
        "mean_plus_diff": sum(diffs) / len(diffs) if diffs else 0.0,
    }  # fmt: skip
