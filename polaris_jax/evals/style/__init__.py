"""The literary-shift study: does training on human prose move generations away from assistant style?

``read_stories`` reads novels, transcripts, generations or a token store; ``run_study`` compares groups of them by the
measures that passed validation (``measures``), Burrows' Delta, over-used phrases, a classifier with author-disjoint
folds, use of their own plan, and optionally a judge. Effects are Cliff's delta with cluster-bootstrap intervals
(``contrast``). What each measure is worth is shown by ``benchmarks/style_validation.py`` on known ground.
"""

from polaris_jax.evals.style.contrast import Contrast, Sample, contrast, shift
from polaris_jax.evals.style.findings import style_document
from polaris_jax.evals.style.measures import CANDIDATES, DROPPED, MEASURES
from polaris_jax.evals.style.sources import read_all, read_stories
from polaris_jax.evals.style.stories import Passage, Story, passages
from polaris_jax.evals.style.study import run_study

__all__ = ["CANDIDATES", "DROPPED", "MEASURES", "Contrast", "Passage", "Sample", "Story", "contrast", "passages",
           "read_all", "read_stories", "run_study", "shift",
           "style_document"]
