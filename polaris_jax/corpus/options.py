"""The options of a library build, the same for every runner."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from polaris_jax.corpus.readings import ReadingRules
from polaris_jax.errors import InputError

# Per profile: window in tokens, fewest and most words of narrative (trajectory specification 2.1 and 7). Mini volumes
# are cut from every text that the library accepts as a novel.
_DEFAULTS: dict[str, dict[str, int]] = {
    "full": {"window": 262_144, "min_words": 25_000, "max_words": 450_000},
    "first_chapter": {"window": 32_768, "min_words": 25_000, "max_words": 450_000},
    "mini": {"window": 8_192, "min_words": 2_000, "max_words": 700_000},
}
PROFILES = tuple(_DEFAULTS)
SPLITS = ("train", "validation", "test")


def split_shares(sizes: Sequence[float]) -> tuple[float, float, float]:
    """Relative sizes of train, validation and test.

    Raises:
      InputError: not three sizes, a negative one, or nothing but zeros.
    """
    if len(sizes) != len(SPLITS) or min(sizes) < 0 or not sum(sizes):
        raise InputError("--split", tuple(sizes), "three sizes for train, validation and test, such as 90/5/5")
    train, validation, test = sizes
    return train, validation, test


@dataclass(frozen=True)
class BuildOptions:
    """How novels become trajectories. None means the profile's own value (``resolved``).

    Attributes:
      profile: ``full`` (a novel is one trajectory), ``first_chapter`` (its plan and first chapter, the 24B protocol) or
        ``mini`` (several small volumes per novel).
      window: most tokens per trajectory; 0 is no limit.
      least_chapters: share of a full book's chapters that must fit the window. If fewer fit, the book is left out; if
        not all fit, it is cut after a chapter (specification 4.7).
      chapters: fewest and most chapters per mini volume. chapter_words: most words per mini chapter.
      per_book: most mini volumes kept per novel, evenly spread over it (0 = all).
      prompts: how many of the four synthetic prompts get their own trajectory. Each repeats the whole book with another
        request and has ``prompt`` 0, 1, ... in its metadata, so an epoch selects one with ``store.where``.
      min_words, max_words: words of narrative, after cleaning.
      max_fallback: largest share of annotated fields that may have fallen back to the offline annotator (gate V11).
      min_plan_score: least score of a book's plan, 0-100, by ``scaffold.review_plan``; other books are left out.
      similarity: two books with at least this estimated Jaccard similarity of word 5-grams are one work.
      shares: relative sizes of train, validation and test, as shares of authors.
      seed: for the split.
      heading, accept, reject: the user's rules for reading single books (``readings.ReadingRules``).
    """

    profile: str = "mini"
    window: int | None = None
    least_chapters: float = 0.6
    chapters: tuple[int, int] = (2, 12)
    chapter_words: int = 800
    per_book: int = 0
    prompts: int = 1
    min_words: int | None = None
    max_words: int | None = None
    max_fallback: float = 0.05
    min_plan_score: float = 0.0
    similarity: float = 0.7
    shares: tuple[float, float, float] = (90.0, 5.0, 5.0)
    seed: int = 0
    heading: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()

    @property
    def rules(self) -> ReadingRules:
        """The rules for reading single books."""
        return ReadingRules(self.heading, self.accept, self.reject)

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise InputError("--profile", self.profile, f"use one of {', '.join(PROFILES)}")
        if self.window is not None and self.window < 0:
            raise InputError("--window", self.window, "use a number of tokens, or 0 for no limit")
        if not 1 <= self.prompts <= 4:
            raise InputError("--prompts-per-book", self.prompts, "a book has 1 to 4 prompts")
        if self.per_book < 0:
            raise InputError("--per-book", self.per_book, "use a number of volumes, or 0 for all")
        for name in ("least_chapters", "max_fallback", "similarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"--{name.replace('_', '-')}", getattr(self, name), "is a share: between 0 and 1")
        if not 0 <= self.min_plan_score <= 100:
            raise InputError("--min-plan-score", self.min_plan_score, "a plan's score is between 0 and 100")
        split_shares(self.shares)

    def resolved(self) -> "ResolvedOptions":
        """The same options, with the profile's values instead of None."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        missing = {name: value for name, value in _DEFAULTS[self.profile].items() if given[name] is None}
        return ResolvedOptions(**given | missing)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> "BuildOptions":
        """Options from a mapping, for example a config file; lists become tuples.

        Raises:
          InputError: a field that does not exist or a value of another type.
        """
        known: dict[str, Any] = {field.name: field.default for field in fields(cls)}
        given: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InputError("config", name, f"no such option; the options are {', '.join(known)}")
            value = tuple(value) if isinstance(value, list | tuple) else value
            if isinstance(known[name], float) and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            wanted = int if known[name] is None else type(known[name])
            if not (isinstance(value, wanted) or (value is None and known[name] is None)):
                raise InputError(f"config.{name}", value, f"must be {wanted.__name__}")
            given[name] = value
        return cls(**given)


@dataclass(frozen=True)
class ResolvedOptions(BuildOptions):
    """Options without None; made by ``BuildOptions.resolved``."""

    window: int = 0
    min_words: int = 0
    max_words: int = 0

    def of_reading(self, address: str) -> dict[str, Any]:
        """The options that decide how the novel at an address is read and accepted."""
        return {"min_words": self.min_words, "max_words": self.max_words} | self.rules.reading(address).given()

    def of_planning(self) -> dict[str, Any]:
        """The options that decide the trajectories of an accepted novel."""
        names = ("profile", "window", "least_chapters", "chapters", "chapter_words", "per_book", "prompts")
        return {name: value for name, value in asdict(self).items() if name in names}
