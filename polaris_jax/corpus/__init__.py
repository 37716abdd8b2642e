"""A folder of novels becomes a token store: the dataset builder, from a laptop to thousands of books on a cluster.

``build_library(novels, out, tokenizer, BuildOptions(...), runner=...)`` reads every novel, leaves out second copies
(``duplicates``), plans and tokenises each book (``trajectories``), keeps what is finished in a work area (``steps``,
``shard``) and joins it into one store with a report (``assemble``). The steps are plain functions over files, so a loop
over the cores (``runners``) and an Apache Beam pipeline (``pipeline``) give the same bytes.
"""

from polaris_jax.corpus.build import Build, build_library
from polaris_jax.corpus.novels import find_books, find_novels
from polaris_jax.corpus.options import BuildOptions
from polaris_jax.corpus.trajectories import plan_novel

__all__ = ["Build", "BuildOptions", "build_library", "find_books", "find_novels", "plan_novel"]
