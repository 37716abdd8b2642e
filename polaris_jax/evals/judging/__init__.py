"""Asks judges: many questions at once, benchmarks over stories, tournaments over pairs, agreement between judges.

``ask_judge`` asks one judge a list of ``JudgeQuestion``s. ``evaluate`` runs a benchmark, and ``run_tournament`` the
pairwise comparison. ``agreement`` measures whether judges agree.
"""

from polaris_jax.evals.judging.ask import (
    BenchJudge,
    JudgeQuestion,
    JudgeRecords,
    ask_judge,
    judge_name,
    question_request,
    request_of,
)
from polaris_jax.evals.judging.evaluation import BenchResult, StoryScore, evaluate
from polaris_jax.evals.judging.tournament import Tournament, run_tournament

__all__ = [
    "BenchJudge",
    "BenchResult",
    "JudgeQuestion",
    "JudgeRecords",
    "StoryScore",
    "Tournament",
    "ask_judge",
    "evaluate",
    "judge_name",
    "question_request",
    "request_of",
    "run_tournament",
]
