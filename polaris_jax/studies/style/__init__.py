"""The literary-shift study: does training on human prose move generations away from assistant style?

``read_stories`` reads novels, transcripts, generations or a token store; ``compare_styles`` compares groups of stories
by the measures that passed validation (``measures``), Burrows' Delta, over-used phrases, a classifier with
author-disjoint folds, use of their own plan, and optionally a judge. Effects are Cliff's delta with cluster-bootstrap
intervals (``contrast``). ``benchmarks/style_validation.py`` validates the measures on texts with a known answer.
"""

from polaris_jax.studies.style.comparison import compare_styles
from polaris_jax.studies.style.contrast import Contrast, Sample, contrast, shift
from polaris_jax.studies.style.measures import CANDIDATES, DROPPED, MEASURES
from polaris_jax.studies.style.report import style_document
from polaris_jax.studies.style.sources import read_all, read_stories
from polaris_jax.studies.style.stories import Passage, Story, passages

__all__ = [
    "CANDIDATES",
    "DROPPED",
    "MEASURES",
    "Contrast",
    "Passage",
    "Sample",
    "Story",
    "compare_styles",
    "contrast",
    "passages",
    "read_all",
    "read_stories",
    "shift",
    "style_document",
]
