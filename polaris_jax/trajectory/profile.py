"""Profiles of generated books: every bound that the writer's grammars use.

The grammar is the same for all profiles. Bounds are (low, high), inclusive. Every list that a model writes is bounded,
so a small model in a small window always finishes.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.trajectory.outline import BookOutline
from polaris_jax.trajectory.scripts import Scripts, check_scripts
from polaris_jax.trajectory.words import LEGAL_COUNTS

Range = tuple[int, int]

CAPS_14B = {
    "book_preview": 4_000,
    "book_plan": 50_000,
    "first_chapter_plan": 9_000,
    "first_chapter_text": 12_000,
    "full_book_chapters_plan": 60_000,
    "book_characters_list": 6_000,
    "scene_breakdown": 3_000,
    "chapter_text": 16_000,
}
CAPS_24B = {
    "book_plan": 50_000,
    "first_chapter_plan": 2_500,
    "first_chapter_scene_breakdown": 3_000,
    "first_chapter_text": 12_000,
}


@dataclass(frozen=True)
class Profile:
    """Bounds of a generated book.

    Attributes:
      family: ``full_book`` (14B stage order) or ``first_chapter`` (24B).
      window: tokens of the model's window.
      arcs, chapters, scenes: numbers of arcs and chapters in the book, and of scenes in a chapter.
      chapter_words: bounds of a chapter's rounded word count.
      rules ... scene_summary: bullets per unit; ``archetypes`` and ``characters`` (per group) count the units.
      bullet_chars, name_chars, focus_chars, perspective_chars, word_chars: most characters of one bullet, name, ...
      scripts: those of ``scripts.SCRIPTS`` that the book may use besides Latin, Greek and Cyrillic.
      outline: what a person has already planned.
      caps: role -> most tokens of a stage with this role; its steps share them.
    """

    name: str
    family: str = "full_book"
    window: int = 262_144
    arcs: Range = (1, 12)
    chapters: Range = (2, 1_188)
    chapter_words: Range = (10, 99_500)
    scenes: Range = (1, 12)
    rules: Range = (1, 90)
    short: Range = (1, 20)
    medium: Range = (1, 40)
    long: Range = (1, 80)
    style: Range = (1, 40)
    archetypes: Range = (1, 32)
    archetype_bullets: Range = (1, 10)
    characters: Range = (1, 20)
    character_bullets: Range = (1, 20)
    chapter_summary: Range = (1, 80)
    scene_summary: Range = (1, 20)
    focuses: Range = (1, 7)
    highlight_words: Range = (55, 140)
    title_words: Range = (1, 8)
    tag_words: Range = (1, 8)
    archetype_words: Range = (45, 190)
    bullet_chars: int = 300
    name_chars: int = 120
    focus_chars: int = 65
    perspective_chars: int = 200
    word_chars: int = 24
    scripts: Scripts = ()
    outline: BookOutline = field(default_factory=BookOutline)
    caps: dict[str, int] = field(default_factory=lambda: dict(CAPS_14B), hash=False)

    def __post_init__(self) -> None:
        check_scripts(self.scripts)
        if self.outline != BookOutline() and self.family != "full_book":
            raise InputError("outline", self.outline.title, "needs a whole book's profile")
        planned = len(self.outline.chapters)
        if planned > self.chapters[1]:
            raise InputError("outline", planned, f"chapters are more than the {self.chapters[1]} of the profile")
        for name, (low, high) in _LIMITS.items():
            found = getattr(self, name)
            if not low <= found[0] <= found[1] <= high:
                raise InputError(f"profile.{name}", found, f"bounds must lie in {low}..{high}, low first")
        for name, high in (("bullet_chars", 300), ("name_chars", 120), ("focus_chars", 65), ("perspective_chars", 200)):
            if not 1 <= getattr(self, name) <= high:
                raise InputError(f"profile.{name}", getattr(self, name), f"use 1..{high}")
        if self.family == "full_book" and self.chapters[0] < 2:
            raise InputError("profile.chapters", self.chapters, "a full book has at least two chapters")
        if self.arc_bounds[0] > self.arc_bounds[1]:
            raise InputError("profile.arcs", self.arcs, "every arc holds 1 to 99 of the chapters: match the two bounds")
        if not self.counts:
            raise InputError("profile.chapter_words", self.chapter_words, "no legal word count lies in these bounds")

    @property
    def arc_bounds(self) -> Range:
        """Bounds of the number of arcs that can hold the chapters."""
        return max(self.arcs[0], -(-self.chapters[0] // 99)), min(self.arcs[1], self.chapters[1])

    @property
    def counts(self) -> tuple[int, ...]:
        """Legal rounded word counts of a chapter."""
        low, high = self.chapter_words
        return tuple(count for count in LEGAL_COUNTS if low <= count <= high)


# What the grammar allows; a profile may only narrow it.
_LIMITS = {
    "arcs": (1, 12),
    "chapters": (1, 1_188),
    "chapter_words": (10, 99_500),
    "scenes": (1, 12),
    "rules": (1, 90),
    "short": (1, 20),
    "medium": (1, 40),
    "long": (1, 80),
    "style": (1, 40),
    "archetypes": (1, 32),
    "archetype_bullets": (1, 10),
    "characters": (1, 20),
    "character_bullets": (1, 20),
    "chapter_summary": (1, 80),
    "scene_summary": (1, 20),
    "focuses": (1, 7),
    "highlight_words": (55, 140),
    "title_words": (1, 8),
    "tag_words": (1, 8),
    "archetype_words": (45, 190),
}

FULL_BOOK = Profile("full_book")
FIRST_CHAPTER = Profile(
    "first_chapter", "first_chapter", 32_768, chapters=(1, 1), chapter_summary=(1, 32), caps=dict(CAPS_24B)
)


def mini_profile(
    window: int = 8_192,
    chapters: Range = (2, 12),
    arcs: Range = (1, 4),
    chapter_words: Range = (50, 800),
    **bounds: Any,
) -> Profile:
    """The same grammar and stages for short books in small windows (8,192 to 32,768 tokens, or less).

    List lengths grow with the window; below 8,192 the lines get shorter instead. The plan may take half of the window
    and any other planning stage a quarter, which the bounded grammars rarely need. The prose of all chapters shares
    half of the window.

    Args:
      window: the model's window in tokens.
      chapters, arcs, chapter_words: bounds of the book.
      **bounds: any other field of ``Profile``.

    Raises:
      InputError: bounds outside the grammar, or in the wrong order.
    """
    room = max(1, round(window / 8_192))
    wide = lambda high, most: (1, min(high * room, most))  # noqa: E731
    narrow = lambda chars: max(20, int(chars * min(1, window / 8_192)))  # noqa: E731
    share = max(128, window // (2 * chapters[1]))
    texts = {"first_chapter_text": share, "chapter_text": share}
    caps = dict.fromkeys(CAPS_14B, window // 4) | {"book_plan": window // 2} | texts
    profile = Profile(
        "mini",
        "full_book",
        window,
        arcs,
        chapters,
        chapter_words,
        scenes=wide(2, 6),
        rules=wide(3, 12),
        short=wide(2, 6),
        medium=wide(3, 10),
        long=wide(4, 16),
        style=wide(3, 12),
        archetypes=wide(2, 8),
        archetype_bullets=wide(1, 4),
        characters=wide(2, 8),
        character_bullets=wide(1, 4),
        chapter_summary=wide(3, 12),
        scene_summary=wide(2, 8),
        focuses=(1, 3),
        highlight_words=(55, 80 if room == 1 else 110),
        archetype_words=(45, 70 if room == 1 else 120),
        bullet_chars=narrow(120 if room < 4 else 200),
        name_chars=narrow(60),
        focus_chars=narrow(48),
        perspective_chars=narrow(80),
        word_chars=16 if window >= 8_192 else 8,
        caps=caps,
    )
    return replace(profile, **bounds) if bounds else profile


MINI = mini_profile()
