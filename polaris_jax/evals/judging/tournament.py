"""Compares models in pairs: a judge compares every pair on every prompt, in both orders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.evals.benches.pairwise import MAX_SIGNS, PairRubric, games, pair_prompt, pairs, read_verdict
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.judging.ask import BenchJudge, JudgeQuestion, ask_judge
from polaris_jax.evals.judging.evaluation import Progress
from polaris_jax.evals.ratings import Game

NAME = "pairwise"


@dataclass(frozen=True)
class Tournament:
    """The records of all judgements, and the games from them: one per pair and prompt, averaged over the judges."""

    records: list[dict]
    games: list[Game]
    stopped: Mapping[str, str]

    @property
    def judgements(self) -> list[dict]:
        """Records with a usable answer, made ``flat``."""
        return [flat(record) for record in self.records if "scores" in record]


def run_tournament(
    generations: Sequence[Generation],
    judges: Sequence[BenchJudge],
    *,
    samples: int = 1,
    rubric: PairRubric = PairRubric(),
    progress: Progress = lambda judge, done, total: None,
) -> Tournament:
    """Asks every judge about every pair in both orders. An empty story loses to a written one without a call.

    Raises:
      InputError: no prompt was answered by two models, or a judge cannot be asked at all.
    """
    asked, decided = questions(generations, samples, rubric)
    records: list[dict] = []
    stopped: dict[str, str] = {}
    for judge in judges:
        answered = ask_judge(asked, judge, partial(progress, judge.name))
        if answered.stopped:
            stopped[judge.name] = answered.stopped
        records += [*answered.records, *({**row, "judge": judge.name, "sample": 0} for row in decided)]
    return Tournament(records, games([flat(record) for record in records if "scores" in record]), stopped)


def questions(
    generations: Sequence[Generation], samples: int = 1, rubric: PairRubric = PairRubric()
) -> tuple[list[JudgeQuestion], list[dict]]:
    """The questions about every pair, and records of the pairs that are decided by an empty story.

    Raises:
      InputError: no prompt was answered by two models.
    """
    found = pairs(generations)
    if not found:
        raise InputError("generations", len(generations), "no id has stories of two models: nothing to compare")
    asked: list[JudgeQuestion] = []
    decided: list[dict] = []
    for a, b in (order for first, second in found for order in ((first, second), (second, first))):
        about = {"bench": NAME, "id": a.id, "a": a.model, "b": b.model}
        written = bool(a.story.strip()) - bool(b.story.strip())
        if a.story.strip() and b.story.strip():
            prompt = pair_prompt(a, b, rubric)
            asked += [JudgeQuestion(about, prompt, _reader(rubric), NAME, rubric.version, n) for n in range(samples)]
        else:
            decided.append(about | {"scores": {"score": 0.5 + 0.5 * written, "plus_diff": MAX_SIGNS * written}})
    return asked, decided


def flat(record: Mapping[str, Any]) -> dict:
    """A record with its scores at the level of its other fields."""
    return {**record, **record["scores"]}


def _reader(rubric: PairRubric) -> Callable[[str], dict]:
    def read(text: str) -> dict:
        verdict = read_verdict(text, scale=rubric.scale)
        return {
            "score": verdict.score_a,
            "plus_diff": verdict.plus_diff,
            "plus_a": verdict.plus_a,
            "plus_b": verdict.plus_b,
            "verdict": verdict.verdict,
        }

    return read
