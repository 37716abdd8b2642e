"""Pairwise comparison: two stories on one prompt, nine criteria, every pair asked in both orders.

The judge names a winner per criterion and a margin (one to five plus signs, no draws). The difference of the sums of
signs gives the verdict, as published: 10 or more is a clear win (1 point), anything less a narrow one (0.75).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from polaris_jax.evals.benches.bench import JudgePrompt, Unusable, object_schema
from polaris_jax.evals.benches.judge_template import OURS, JudgeTemplate, read_template
from polaris_jax.evals.benches.rubric_answer import read_rubric
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
CLEAR = 10  # smallest difference of plus signs for a clear win
MOST_SIGNS = 5  # for one criterion
MAX_SIGNS = MOST_SIGNS * len(CRITERIA)
POINTS = {"A>>B": 1.0, "A>B": 0.75, "tie": 0.5, "B>A": 0.25, "B>>A": 0.0}
VERSION = "1"
ANSWER_TOKENS = 600  # tokens of a usual answer of a judge, with its reasons; for forecasts
_PROMPT, _FIRST, _SECOND = "{writing_prompt}", "{model_a_analysis}", "{model_b_analysis}"  # of EQ-Bench's prompt
_GRADES = [f"{who}{'+' * count}" for who in "AB" for count in range(1, MOST_SIGNS + 1)]
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
class PairVerdict:
    """The verdict of one judgement, from the side of the story in place A.

    Attributes:
      plus_a, plus_b: plus signs for each story.
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


@dataclass(frozen=True)
class GradeScale:
    """Grades such as ``A+++``: the better piece, and one to five signs for the margin.

    Attributes:
      labels: the judge's names of the two pieces → ``A`` or ``B``.
    """

    labels: Mapping[str, str] = field(default_factory=lambda: {"a": "A", "b": "B"})

    @property
    def pattern(self) -> str:
        """See ``rubric_answer.ValueScale``."""
        return rf"(?:(?:piece|story|writer|winner)[ \t:]*)?(?P<who>{'|'.join(self.labels)})[ \t(]*(?P<signs>\++)\)?"

    def read(self, found: re.Match[str]) -> tuple[str, int]:
        """See ``rubric_answer.ValueScale``."""
        signs = len(found["signs"])
        if signs > MOST_SIGNS:
            raise Unusable(f"{found[0].strip()!r} has more than {MOST_SIGNS} signs", "out_of_range")
        return self.labels[found["who"]], signs


def read_verdict(answer: str | Mapping[str, Any], *, scale: GradeScale = GradeScale()) -> PairVerdict:
    """Reads the verdict in a judge's answer; every criterion must have a grade.

    Raises:
      Unusable: see ``rubric_answer``.
    """
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return verdict_of(read_rubric(text, list(CRITERIA), scale))


def verdict_of(grades: Mapping[str, tuple[str, int]]) -> PairVerdict:
    """The verdict of ``criterion → (better piece, plus signs)``."""
    plus = {who: sum(signs for winner, signs in grades.values() if winner == who) for who in "AB"}
    return PairVerdict(plus["A"], plus["B"], {key: winner for key, (winner, _) in grades.items()})


@dataclass(frozen=True)
class PairRubric:
    """The judge's prompt and the grades that it asks for; by default our own prompt."""

    template: JudgeTemplate | None = None
    scale: GradeScale = GradeScale()

    @property
    def version(self) -> str:
        """Part of the cache key of an answer."""
        return VERSION if self.template is None else self.template.version

    @property
    def source(self) -> str:
        """The source of the prompt, for a report."""
        return OURS if self.template is None else self.template.source


def read_pair_rubric(address: str) -> PairRubric:
    """Reads EQ-Bench's published comparison prompt. Its codes of writers (``[WRITER A0493]``) are the names in grades.

    Raises:
      InputError: the file is not such a prompt.
    """
    template = read_template(address, [(_PROMPT,), (_FIRST,), (_SECOND,)])
    codes = [
        code[1].casefold() if (code := re.search(rf"\[WRITER (\w+)\]\s*{re.escape(place)}", template.text)) else who
        for place, who in ((_FIRST, "a"), (_SECOND, "b"))
    ]
    return PairRubric(template, GradeScale(dict(zip(codes, "AB", strict=True))))


def pair_prompt(first: Generation, second: Generation, rubric: PairRubric = PairRubric()) -> JudgePrompt:
    """The comparison with ``first`` in place A."""
    if rubric.template is not None:
        values = {_PROMPT: first.prompt, _FIRST: first.story, _SECOND: second.story}
        return JudgePrompt("pair", rubric.template.messages(values))
    text = _TASK.format(
        prompt=first.prompt,
        a=first.story,
        b=second.story,
        keys=", ".join(f'"{key}"' for key in CRITERIA),
        criteria=describe(CRITERIA),
    )
    return JudgePrompt("pair", (("user", text),), _SCHEMA)


def pairs(generations: Sequence[Generation]) -> list[tuple[Generation, Generation]]:
    """Every pair of stories of two models on one prompt, in the order of the input."""
    by_id: dict[str, list[Generation]] = {}
    for one in generations:
        by_id.setdefault(one.id, []).append(one)
    return [pair for group in by_id.values() for pair in combinations(group, 2) if pair[0].model != pair[1].model]


def games(judgements: Sequence[Mapping[str, Any]], orders: str = "both") -> list[Game]:
    """One game per pair and prompt from its judgements in both orders; their points are averaged.

    Args:
      judgements: with ``id``, ``a``, ``b`` (the models in places A and B), ``score`` (points of ``a``). Several judges'
        and samples' judgements of a pair are averaged per order first.
      orders: ``both`` drops a pair that was judged in one order only, since it would carry the judge's position bias;
        ``any`` keeps it.
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


def position_bias(judgements: Sequence[Mapping[str, Any]]) -> float | None:
    """Position bias: mean points of place A minus one half, over judgements in both orders; 0 without bias."""
    scores = [row["score"] for row in judgements]
    return sum(scores) / len(scores) - 0.5 if scores else None


def count_results(judgements: Sequence[Mapping[str, Any]], player: str) -> dict[str, float]:
    """The published aggregate from ``player``'s side: wins, losses, ties per judgement and mean difference of signs.

    Args:
      judgements: with ``a``, ``b`` and ``plus_diff`` (place A minus place B).
    """
    diffs = [
        row["plus_diff"] if row["a"] == player else -row["plus_diff"]
        for row in judgements
        if player in (row["a"], row["b"])
    ]
    return {
        "wins": sum(d > 0 for d in diffs),
        "losses": sum(d < 0 for d in diffs),
        "ties": sum(d == 0 for d in diffs),
        "mean_plus_diff": sum(diffs) / len(diffs) if diffs else 0.0,
    }
