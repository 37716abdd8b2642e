"""Do plans help? Measures how probable human prose is after its own plan, another plan, and none.

``read_openings`` chooses passages, ``offline_plans`` and ``model_plans`` write their cards (``cards``),
``run_plan_study`` fine-tunes one model per kind of plan and measures all of them (``study``, ``likelihood``), and
``plan_study_document`` makes the tables (``report``), which also show how much generated prose repeats its plan.
``benchmarks/plan_study.py`` runs the study with SmolLM2.
"""

from polaris_jax.studies.plans.cards import OpeningPlan, model_plans, offline_plans
from polaris_jax.studies.plans.openings import ChapterOpening, read_openings, shuffled
from polaris_jax.studies.plans.report import gain_per_word, loss_per_word, plan_study_document
from polaris_jax.studies.plans.study import PlanStudySpec, run_plan_study

__all__ = [
    "ChapterOpening",
    "OpeningPlan",
    "PlanStudySpec",
    "gain_per_word",
    "loss_per_word",
    "model_plans",
    "offline_plans",
    "plan_study_document",
    "read_openings",
    "run_plan_study",
    "shuffled",
]
