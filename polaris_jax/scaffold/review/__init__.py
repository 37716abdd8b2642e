"""Judges plans, without a model or with one: is a plan good enough to train on?

``review_plan(book, novel)`` gives one score with its parts and the worst bullets. ``bullets`` judges one bullet by
its scene: ``grammar``, ``support`` (who did what to whom, negated or not), duplicates, vagueness. ``entailment`` asks a
model besides whether the scene supports it. ``faults`` plants errors of known kinds, by which the judge itself is
measured (``benchmarks/plan_judge.py``).
"""

from polaris_jax.scaffold.review.bullets import BulletVerdict, judge_bullet
from polaris_jax.scaffold.review.entailment import Entailment, EntailmentSpec, ModelEntailment, open_entailment
from polaris_jax.scaffold.review.plans import PlanReview, review_plan, template_share

__all__ = [
    "BulletVerdict",
    "Entailment",
    "EntailmentSpec",
    "ModelEntailment",
    "PlanReview",
    "judge_bullet",
    "open_entailment",
    "review_plan",
    "template_share",
]
