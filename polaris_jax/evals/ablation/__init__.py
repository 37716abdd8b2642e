"""Ablations: does the scaffold, and the order it comes in, do anything? How often should a book be read?

``run_ablation`` trains arms that differ in one thing (``arms``), each on its own form of the same store (``variants``),
and measures every arm alike on authors it has not seen: loss per stage role (``heldout``) and what becomes of
free-running greedy text (``free_run``). A killed run goes on where it was; ``ablation_document`` makes the one table.
"""

from polaris_jax.evals.ablation.arms import Arm, claimed_arms, read_arms
from polaris_jax.evals.ablation.findings import ablation_document
from polaris_jax.evals.ablation.runner import AblationSpec, run_ablation
from polaris_jax.evals.ablation.variants import VARIANTS, vary

__all__ = ["VARIANTS", "AblationSpec", "Arm", "ablation_document", "claimed_arms", "read_arms", "run_ablation", "vary"]
