"""The ``Book`` record: a novel at every resolution, from the prompt to the prose.

Frozen dataclasses, plain Python values only. Word counts on cards are *binned* (trajectory specification 2.4); raw
counts are derived from the text.
"""

from dataclasses import dataclass, field

DIMENSIONS = ("action", "dialog", "world_building", "exposition", "romantic", "erotic", "pacing")


@dataclass(frozen=True)
class Vector:
    """Seven integers 0-99 about a scene or chapter."""

    action: int
    dialog: int
    world_building: int
    exposition: int
    romantic: int
    erotic: int
    pacing: int


@dataclass(frozen=True)
class Scene:
    """A scene card. ``text`` is the scene's prose; the chapter's text is the concatenation of its scenes' texts."""

    name: str
    word_count: int
    vector: Vector
    focuses: tuple[str, ...]
    perspective: str
    summary: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True)
class Chapter:
    """A chapter card, its scenes and its prose (paragraphs separated by one blank line)."""

    name: str
    word_count: int
    vector: Vector
    focuses: tuple[str, ...]
    summary: tuple[str, ...]
    scenes: tuple[Scene, ...]
    text: str


@dataclass(frozen=True)
class Arc:
    """A consecutive group of chapters at three resolutions; ``title`` is the part after ``Arc k: ``."""

    title: str
    short: tuple[str, ...]
    medium: tuple[str, ...]
    long: tuple[str, ...]
    chapter_names: tuple[str, ...]


@dataclass(frozen=True)
class Described:
    """A named thing with bullets: a character, or a character archetype (then ``name`` is the role label)."""

    name: str
    bullets: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """Stage ``book_preview``, the book in short: highlight and archetype in prose, seven tags."""

    highlight: str
    title: str
    tags: tuple[str, ...]
    archetype: str


@dataclass(frozen=True)
class Book:
    """The content of a full-book trajectory, in the order of its stages."""

    prompt: str
    highlight: str
    title: str
    tags: tuple[str, ...]
    archetype: str
    world_rules: tuple[str, ...]
    arcs: tuple[Arc, ...]
    character_archetypes: tuple[Described, ...]
    writing_style: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    main_characters: tuple[Described, ...]
    side_characters: tuple[Described, ...]
    provenance: dict = field(default_factory=dict)
