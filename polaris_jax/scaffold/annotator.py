"""The interface of annotators: a language model, or the offline annotator.

An annotator gets one book's prose (``AnnotationTask``) and returns everything the plan says about it (``Annotation``).
The interface does not prescribe how: the offline annotator works top-down; the one that asks a model works bottom-up
and asks many questions at once. ``assemble`` enforces the grammar's limits afterwards, so an answer may be too long,
but must not be missing.
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
      title: title of the novel.
      author: author of the novel.
      novel: the whole novel's prose, from which names are learned.
      volume: the prose that goes into this book; cards mention nothing outside it.
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
      arcs: number of arcs; the most, if the annotator decides where arcs begin.
    """

    source: Novel
    context: Context
    parts: tuple[Draft, ...]
    detail: Detail
    arcs: int


@dataclass(frozen=True)
class Faithfulness:
    """Counts of what was found to be unfaithful and sent back.

    Attributes:
      unknown_names: capitalised names that are neither in the prose of the scene nor in the earlier cards.
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
      chapters: one card with its scenes per part of the task, in the same order.
      arcs: consecutive arcs, which together name every chapter once.
      prompts: user requests that this book would answer; one is used per epoch.
      fallback: path of every field that a model failed to answer -> the kind of failure; empty for the offline
        annotator.
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
    """Writes the plan of a book.

    Attributes:
      name: identity for provenance, for example ``openai/some-model``; stored in manifests, so it never changes.
      version: version of the instructions.
    """

    name: str
    version: str

    def annotate(self, task: AnnotationTask, progress: Progress | None = None) -> Annotation:
        """Annotates one book; the same task always gives the same annotation (with a model: while its cache exists)."""

    def close(self) -> None:
        """Releases connections; the annotator is not used afterwards."""
