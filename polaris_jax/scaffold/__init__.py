"""Planning a novel backwards: scene cards, chapter cards, arcs at three resolutions, world, cast, preview, prompt.

``build_books(novel, annotator, profile)`` turns what the library read into ``trajectory.Book`` records.
``Annotator`` is the seam for a language model; ``DeterministicAnnotator`` needs none. ``FULL`` keeps a whole novel,
``mini_profile`` makes small volumes that fit a given window.
"""

from polaris_jax.scaffold.annotator import Annotator, Bound, Context, Preview
from polaris_jax.scaffold.build import build_books
from polaris_jax.scaffold.deterministic import DeterministicAnnotator
from polaris_jax.scaffold.profile import FULL, Detail, Profile, mini_profile

__all__ = [
    "FULL",
    "Annotator",
    "Bound",
    "Context",
    "Detail",
    "DeterministicAnnotator",
    "Preview",
    "Profile",
    "build_books",
    "mini_profile",
]
