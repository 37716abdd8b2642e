"""Derives the plan of a finished novel: scene cards, chapter cards, arcs at three resolutions, world, cast, prompt.

``build_books(novel, annotator, profile)`` turns a ``Novel`` of the library into ``trajectory.Book`` records. ``FULL``
keeps a whole novel, ``STORY`` a whole short story; ``mini_profile`` makes small volumes that fit a given window. An
``Annotator`` writes the plan: the one in ``offline/`` needs no model, the one in ``llm/`` asks one; ``open_annotator``
opens either. ``analysis/`` measures the prose for both, ``review/`` judges plans.
"""

from polaris_jax.scaffold.annotator import Annotation, AnnotationTask, Annotator, Context, Faithfulness
from polaris_jax.scaffold.build import build_books
from polaris_jax.scaffold.factory import AnnotatorSpec, open_annotator
from polaris_jax.scaffold.field_paths import fallback_share
from polaris_jax.scaffold.llm import ForecastClient, LLMAnnotator
from polaris_jax.scaffold.offline import OfflineAnnotator
from polaris_jax.scaffold.profile import FULL, STORY, Bound, Detail, ScaffoldProfile, mini_profile
from polaris_jax.scaffold.review import (
    Entailment,
    EntailmentSpec,
    ModelEntailment,
    PlanReview,
    open_entailment,
    review_plan,
    template_share,
)

__all__ = [
    "FULL",
    "STORY",
    "Annotation",
    "AnnotationTask",
    "Annotator",
    "AnnotatorSpec",
    "Bound",
    "Context",
    "Detail",
    "Entailment",
    "EntailmentSpec",
    "Faithfulness",
    "ForecastClient",
    "LLMAnnotator",
    "ModelEntailment",
    "OfflineAnnotator",
    "PlanReview",
    "ScaffoldProfile",
    "build_books",
    "fallback_share",
    "mini_profile",
    "open_annotator",
    "open_entailment",
    "review_plan",
    "template_share",
]
