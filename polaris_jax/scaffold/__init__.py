"""Planning a novel backwards: scene cards, chapter cards, arcs at three resolutions, world, cast, preview, prompt.

``build_books(novel, annotator, profile)`` turns what the library read into ``trajectory.Book`` records.
``Annotator`` is the seam: ``DeterministicAnnotator`` needs no model, ``LLMAnnotator`` asks one. ``FULL`` keeps a whole
novel, ``mini_profile`` makes small volumes that fit a given window.
"""

from polaris_jax.scaffold.annotator import Annotation, Annotator, Context, Faithfulness, Preview, Task
from polaris_jax.scaffold.build import build_books
from polaris_jax.scaffold.deterministic import DeterministicAnnotator
from polaris_jax.scaffold.fields import fallback_share
from polaris_jax.scaffold.lm import AnnotatorSpec, LLMAnnotator, open_annotator
from polaris_jax.scaffold.profile import FULL, Bound, Detail, Profile, mini_profile

__all__ = [
    "FULL",
    "Annotation",
    "Annotator",
    "AnnotatorSpec",
    "Bound",
    "Context",
    "Detail",
    "DeterministicAnnotator",
    "Faithfulness",
    "LLMAnnotator",
    "Preview",
    "Profile",
    "Task",
    "build_books",
    "fallback_share",
    "mini_profile",
    "open_annotator",
]
