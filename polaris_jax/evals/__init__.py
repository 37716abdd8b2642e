"""Evaluation of what a model wrote: the writing benchmarks, pairwise comparison with ratings, length generalisation.

``read_generations`` → ``evaluate(open_bench(name), ...)`` → ``evaluation_document`` → ``write_document``;
``run_tournament`` and ``tournament_document`` compare models in pairs. ``benches/`` holds the benchmarks, ``judging/``
asks the judges, ``ratings/`` turns comparisons into ratings, and ``documents/`` presents results. Judges are ``llm``
clients with cached replies: a killed run continues, and a finished run repeats without calls. Rubrics are in our own
words, with the published criteria, scales and formulas.
"""

from polaris_jax.evals.benches import BENCHES, open_bench
from polaris_jax.evals.documents import Document, evaluation_document, tournament_document, write_document
from polaris_jax.evals.generations import Generation, read_generations, write_generations
from polaris_jax.evals.judging import BenchJudge, BenchResult, Tournament, evaluate, run_tournament
from polaris_jax.evals.prompts import Prompt, read_prompts

__all__ = [
    "BENCHES",
    "BenchJudge",
    "BenchResult",
    "Document",
    "Generation",
    "Prompt",
    "Tournament",
    "evaluate",
    "evaluation_document",
    "open_bench",
    "read_generations",
    "read_prompts",
    "run_tournament",
    "tournament_document",
    "write_document",
    "write_generations",
]
