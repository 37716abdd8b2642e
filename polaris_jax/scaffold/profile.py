"""Profiles: detail of plans and size of books. ``FULL`` is for whole novels, the mini profile for small windows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class Bound:
    """How much to write: at most ``count`` bullets of at most ``words`` words."""

    count: int
    words: int


@dataclass(frozen=True)
class Detail:
    """Upper limits of every list in the plan; ``Bound(count, words)`` is bullets times words per bullet.

    Attributes:
      scenes: most scenes per chapter.
      scene, chapter: bullets on a card, one per ``scene_words`` or ``chapter_words`` of prose.
      long_per_chapter: bullets that each chapter adds to its long arc.
      archetypes: most archetypes, each with ``archetype`` bullets.
      main, side: most characters of each kind, each with ``person`` bullets.
      prompt_words: most words of a prompt. preview_words: intended words of highlight and archetype.
    """

    scenes: int
    scene: Bound
    scene_words: int
    chapter: Bound
    chapter_words: int
    long_per_chapter: int
    long: Bound
    medium: Bound
    short: Bound
    rules: Bound
    archetypes: int
    archetype: Bound
    style: Bound
    main: int
    side: int
    person: Bound
    focuses: int
    prompt_words: int
    preview_words: tuple[int, int]

    def long_bound(self, chapters: int) -> Bound:
        """Bullets of the long arc over ``chapters`` chapters; in small plans ``long`` counts bullets per chapter."""
        return Bound(min(80, self.long.count * (1 if self.long.count >= 12 else chapters)), self.long.words)


def share(words: int, per_bullet: int, bound: Bound, least: int = 1) -> Bound:
    """The bound for a passage of ``words`` words: one bullet per ``per_bullet`` words."""
    return Bound(max(min(least, bound.count), min(bound.count, round(words / per_bullet))), bound.words)


ROOMY = Detail(
    scenes=12,
    scene=Bound(8, 26),
    scene_words=120,
    chapter=Bound(24, 20),
    chapter_words=140,
    long_per_chapter=2,
    long=Bound(80, 22),
    medium=Bound(40, 18),
    short=Bound(6, 16),
    rules=Bound(14, 22),
    archetypes=8,
    archetype=Bound(3, 24),
    style=Bound(9, 24),
    main=8,
    side=14,
    person=Bound(5, 24),
    focuses=4,
    prompt_words=600,
    preview_words=(75, 70),
)
MEDIUM = Detail(
    scenes=4,
    scene=Bound(3, 18),
    scene_words=100,
    chapter=Bound(5, 16),
    chapter_words=120,
    long_per_chapter=2,
    long=Bound(12, 16),
    medium=Bound(4, 14),
    short=Bound(2, 12),
    rules=Bound(5, 16),
    archetypes=4,
    archetype=Bound(2, 20),
    style=Bound(4, 20),
    main=3,
    side=5,
    person=Bound(3, 18),
    focuses=3,
    prompt_words=250,
    preview_words=(65, 60),
)
SMALL = Detail(
    scenes=2,
    scene=Bound(2, 14),
    scene_words=90,
    chapter=Bound(3, 14),
    chapter_words=80,
    long_per_chapter=1,
    long=Bound(6, 14),
    medium=Bound(2, 12),
    short=Bound(1, 12),
    rules=Bound(3, 16),
    archetypes=2,
    archetype=Bound(2, 20),
    style=Bound(3, 20),
    main=2,
    side=3,
    person=Bound(2, 14),
    focuses=2,
    prompt_words=60,
    preview_words=(55, 45),
)
TINY = Detail(
    scenes=2,
    scene=Bound(1, 12),
    scene_words=80,
    chapter=Bound(2, 12),
    chapter_words=80,
    long_per_chapter=1,
    long=Bound(2, 12),
    medium=Bound(1, 12),
    short=Bound(1, 12),
    rules=Bound(2, 14),
    archetypes=1,
    archetype=Bound(1, 20),
    style=Bound(2, 20),
    main=1,
    side=2,
    person=Bound(1, 14),
    focuses=2,
    prompt_words=60,
    preview_words=(55, 45),
)


@dataclass(frozen=True)
class ScaffoldProfile:
    """Detail of the plans and size of the books that ``build_books`` makes.

    Attributes:
      details: richest first; the builder takes the richest that leaves ``comfortable_words`` within the budget.
      chapters: fewest and most chapters per book; most is None if the whole novel is one book.
      arcs: fewest and most arcs.
      max_chapter_words: longer chapters are split (full) or cut (mini).
      budget: most units of a whole transcript as measured by ``count``; None: no limit.
      count: transcript -> units, for example characters or tokens.
      comfortable_words: words per chapter; the plan is made smaller if fewer would fit.
      least_words: words per chapter; no book is made if fewer would fit.
      form: what requests ask for (see ``annotator.Context``).
    """

    name: str
    details: tuple[Detail, ...]
    chapters: tuple[int, int | None]
    arcs: tuple[int, int]
    max_chapter_words: int
    budget: int | None = None
    count: Callable[[str], int] = len
    comfortable_words: int = 200
    least_words: int = 60
    form: str = "novel"

    @property
    def cuts(self) -> bool:
        """Whether chapters are cut rather than split."""
        return self.chapters[1] is not None


FULL = ScaffoldProfile("full", (ROOMY,), (2, None), (1, 6), 10_000)
STORY = replace(FULL, name="story", form="story")  # one story of a collection, whole


def mini_profile(
    budget: int | None,
    count: Callable[[str], int] = len,
    chapters: tuple[int, int] = (2, 12),
    max_chapter_words: int = 800,
    arcs: tuple[int, int] = (1, 4),
) -> ScaffoldProfile:
    """Small books of 2-12 chapters of at most 800 words for windows far below a whole novel.

    Args:
      budget: most units per transcript (``count`` of the rendered text); None: no limit.

    Raises:
      InputError: a range is outside the mini profile.
    """
    low, high = chapters
    if not 2 <= low <= high <= 12:
        raise InputError("chapters", chapters, "a mini book has between 2 and 12 chapters")
    if not 60 <= max_chapter_words <= 800:
        raise InputError("max_chapter_words", max_chapter_words, "use 60 to 800 words")
    if not 1 <= arcs[0] <= arcs[1] <= 4:
        raise InputError("arcs", arcs, "a mini book has between 1 and 4 arcs")
    if budget is not None and budget <= 0:
        raise InputError("budget", budget, "use a positive size")
    return ScaffoldProfile("mini", (MEDIUM, SMALL, TINY), chapters, arcs, max_chapter_words, budget, count)
