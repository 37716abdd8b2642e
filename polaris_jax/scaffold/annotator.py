"""The seam between the scaffold and whoever reads the prose: a language model, or the offline annotator.

An annotator answers one question per field of the plan, from text and context, in plain values; the builder enforces
the grammar's limits, so an answer may be too long but must not be missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from polaris_jax.trajectory import Described, Vector


@dataclass(frozen=True)
class Context:
    """What surrounds a passage.

    Attributes:
      title: of the novel.
      author: of the novel.
      novel: the whole novel's prose (what names mean is learned here).
      volume: the prose that goes into this book; cards speak of nothing outside it.
    """

    title: str
    author: str
    novel: str
    volume: str


@dataclass(frozen=True)
class Bound:
    """How much to write: at most ``count`` bullets of at most ``words`` words."""

    count: int
    words: int


@dataclass(frozen=True)
class Preview:
    """The book at a glance; ``highlight`` and ``archetype`` in words, seven tags."""

    highlight: str
    title: str
    tags: tuple[str, ...]
    archetype: str


class Annotator(Protocol):
    """One method per field kind of the plan, bottom-up."""

    name: str

    def vector(self, text: str, context: Context) -> Vector:
        """The seven scores of a scene."""

    def heading(self, text: str, context: Context, taken: frozenset[str]) -> str:
        """A short name for a scene or an arc, not one of ``taken``."""

    def focuses(self, text: str, context: Context, limit: int) -> tuple[str, ...]:
        """One to ``limit`` things the passage is about."""

    def perspective(self, text: str, context: Context) -> str:
        """Person, tense and focal character."""

    def summary(self, text: str, context: Context, bound: Bound, skip: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Bullets on a scene, a chapter or a run of chapters; those in ``skip`` are already used on a coarser card."""

    def compress(self, bullets: Sequence[str], context: Context, bound: Bound) -> tuple[str, ...]:
        """Fewer and shorter bullets saying the same: long arcs to medium, medium to short."""

    def arc_starts(self, chapters: Sequence[str], context: Context, arcs: int) -> tuple[int, ...]:
        """Indices of the chapters that open an arc, beginning with 0."""

    def world_rules(self, context: Context, bound: Bound) -> tuple[str, ...]:
        """How this world works."""

    def writing_style(self, context: Context, bound: Bound) -> tuple[str, ...]:
        """How the prose is made."""

    def characters(
        self, chapters: Sequence[tuple[str, str]], context: Context, main: int, side: int, bound: Bound
    ) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
        """Main and side characters from (name, text) of the chapters; both groups non-empty."""

    def archetypes(
        self, chapters: Sequence[tuple[str, str]], context: Context, count: int, bound: Bound
    ) -> tuple[Described, ...]:
        """Role labels without proper names."""

    def preview(
        self, facts: Sequence[str], chapters: Sequence[tuple[str, str]], context: Context, words: tuple[int, int]
    ) -> Preview:
        """Highlight, title, tags and archetype, given the short arc bullets; ``words`` for highlight and archetype."""

    def prompts(
        self,
        preview: Preview,
        facts: Sequence[str],
        chapters: Sequence[tuple[str, str]],
        context: Context,
        most_words: int,
    ) -> tuple[str, ...]:
        """Four user requests that this book would answer, each of at most about ``most_words`` words."""
