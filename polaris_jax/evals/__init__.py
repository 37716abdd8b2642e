"""Judging what was written: the writing benchmarks, comparisons with ratings, length generalisation, memorisation.

``read_generations`` → ``evaluate(open_bench(name), ...)`` → ``evaluation_document`` → ``write_document``; ``hold`` and
``tournament_document`` for pairs of models; ``audit`` for memorisation. Judges are ``llm`` clients whose replies are
kept, so a killed run goes on and a finished one repeats without calls. Rubrics are in our own words, with the published
criteria, scales and formulas; where the released code has a flaw, ``as_released`` repeats it.
"""

from polaris_jax.evals.benches import BENCHES, open_bench
from polaris_jax.evals.document import Document, write_document
from polaris_jax.evals.evaluation import Evaluation, evaluate
from polaris_jax.evals.findings import evaluation_document
from polaris_jax.evals.generations import Generation, read_generations, write_generations
from polaris_jax.evals.judging import Judge
from polaris_jax.evals.prompts import Prompt, read_prompts
from polaris_jax.evals.tournament import Tournament, hold, tournament_document

__all__ = [
    "BENCHES", "Document", "Evaluation", "Generation", "Judge", "Prompt", "Tournament", "evaluate",
    "evaluation_document", "hold", "open_bench", "read_generations", "read_prompts", "tournament_document",
    "write_document", "write_generations",
]  # fmt: skip
