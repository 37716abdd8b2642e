"""The dataset builder: turns novels into a token store, on a laptop or for thousands of books on a cluster.

``build_library(novels, out, tokenizer, BuildOptions(...), runner=...)`` reads every novel, drops ``duplicates``, plans
and tokenises each book (``trajectories``), keeps finished books in a ``work_area`` (``steps``) and joins them into one
store with a report (``assemble``). The steps are plain functions over files, so a loop over the cores (``runners``) and
an Apache Beam pipeline (``pipeline``) give the same bytes. ``build_data`` stores rows and manuscripts unchanged.
"""

from polaris_jax.corpus.batches import BatchRound, next_round
from polaris_jax.corpus.build import Build, build_library, new_job
from polaris_jax.corpus.data_build import BrokenRows, RowOptions, build_data
from polaris_jax.corpus.estimate import BookForecast, forecast_library, totals
from polaris_jax.corpus.novels import find_books, find_novels
from polaris_jax.corpus.options import BuildOptions
from polaris_jax.corpus.trajectories import plan_novel

__all__ = [
    "BatchRound",
    "BookForecast",
    "BrokenRows",
    "Build",
    "BuildOptions",
    "RowOptions",
    "build_data",
    "build_library",
    "find_books",
    "find_novels",
    "forecast_library",
    "new_job",
    "next_round",
    "plan_novel",
    "totals",
]
