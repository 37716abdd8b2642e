"""Ablations: does the scaffold, or its order, change the held-out loss? How many epochs over a book help?

``run_ablation`` trains the runs of a sweep, which differ in one setting (``sweep_runs``), each on its own form of the
same store (``variants``), and measures every run in the same way on held-out authors: loss per stage role (``heldout``)
and repetition in greedy continuations (``free_run``). A killed sweep continues; ``ablation_document`` makes the report.
"""

from polaris_jax.studies.ablation.report import ablation_document
from polaris_jax.studies.ablation.sweep import AblationSpec, run_ablation
from polaris_jax.studies.ablation.sweep_runs import SweepRun, default_sweep, read_sweep_runs
from polaris_jax.studies.ablation.variants import VARIANTS, vary

__all__ = [
    "VARIANTS",
    "AblationSpec",
    "SweepRun",
    "ablation_document",
    "default_sweep",
    "read_sweep_runs",
    "run_ablation",
    "vary",
]
