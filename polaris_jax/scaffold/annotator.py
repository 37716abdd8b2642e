"""The interface between the scaffold and whoever reads the prose: a language model, or the offline annotator.

An annotator gets one book's prose (``AnnotationTask``) and answers with everything the plan says about it
(``Annotation``). How it goes about it is its own affair: the offline annotator works top-down, a model works bottom-up
and asks many questions at once. ``assemble`` enforces the grammar's limits afterwards, so an answer may be too long but
not missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from polaris_jax.library.novel import Novel
from polaris_jax.scaffold.drafts import Draft
from polaris_jax.scaffold.profile import Detail
from polaris_jax.trajectory import Arc, Chapter, Described, Preview

Progress = Callable[[int, int, str], None]  # chapters done, chapters in all, chapter name

PROMPTS_PER_BOOK = 4
# (share, fewest words, most words, plot facts) of each length class of prompts
LENGTHS = ((0.15, 3, 12, 0), (0.25, 15, 60, 1), (0.35, 100, 250, 5), (0.25, 250, 600, 8))


@dataclass(frozen=True)
class Context:
    """What surrounds a passage.

    Attributes:
      title: of the novel.
      author: of the novel.
      novel: the whole novel's prose (what names mean is learned here).
      volume: the prose that goes into this book; cards speak of nothing outside it.
      form: what a request asks for: ``novel``, or ``story`` (whoever uses the request adds the length).
    """

    title: str
    author: str
    novel: str
    volume: str
    form: str = "novel"


@dataclass(frozen=True)
class AnnotationTask:
    """One book to be annotated.

    Attributes:
      source: the novel as the library read it.
      parts: the chapters that go into the book.
      detail: how much to write.
      arcs: into how many runs of chapters the book falls; at most that many where the annotator may judge.
    """

    source: Novel
    context: Context
    parts: tuple[Draft, ...]
    detail: Detail
    arcs: int


@dataclass(frozen=True)
class Faithfulness:
    """What was found to be unfaithful and sent back.

    Attributes:
      unknown_names: capitalised names that the prose of the scene and the earlier cards do not have.
      copied_ngrams: lines that shared a run of eight words with the book.
      rewrites: questions asked a second time for either reason.
    """

    unknown_names: int = 0
    copied_ngrams: int = 0
    rewrites: int = 0


@dataclass(frozen=True)
class Annotation:
    """Everything a plan says about one book.

    Attributes:
      chapters: cards with their scenes, as many and in the order of the task's parts.
      arcs: consecutive, together naming every chapter once.
      prompts: user requests that this book would answer; one is used per epoch.
      fallback: path of every field that a model failed to answer -> the kind of failure; empty for the offline
        annotator, which has nothing to fall back from.
    """

    chapters: tuple[Chapter, ...]
    arcs: tuple[Arc, ...]
    preview: Preview
    world_rules: tuple[str, ...]
    writing_style: tuple[str, ...]
    archetypes: tuple[Described, ...]
    main: tuple[Described, ...]
    side: tuple[Described, ...]
    prompts: tuple[str, ...]
    fallback: Mapping[str, str] = field(default_factory=dict)
    faithfulness: Faithfulness = Faithfulness()


class Annotator(Protocol):
    """Whoever writes the plan of a book.

    Attributes:
      name: identity for provenance, for example ``openai/some-model``; stored in manifests, so it never changes.
      version: of the instructions behind the answers.
    """

    name: str
    version: str

    def annotate(self, task: AnnotationTask, progress: Progress | None = None) -> Annotation:
        """Annotate one book; the same task always gives the same annotation (for a model: as long as its cache)."""

    def close(self) -> None:
        """Release connections; the annotator is not used afterwards."""
