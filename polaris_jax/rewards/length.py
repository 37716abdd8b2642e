"""Length and blankness: how many words were asked for, how many came, and what the difference costs (POLARIS §3.4)."""

import html
import re
from dataclasses import dataclass

from polaris_jax.errors import InputError

_WORD = re.compile(r"\w+")
_REQUEST = re.compile(r"(\d+)\s+words\s+long", re.IGNORECASE)
_REQUEST_WITH_THOUSANDS = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)\s+words\s+long", re.IGNORECASE)
_MENTION = re.compile(r"words\s+long", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?\n]")
# A full stop after a title or an initial, or inside a number, ends no sentence.
_REAL_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])[.!?]+[\"'”’)]*(?!\d)|\n")


@dataclass(frozen=True)
class Tolerance:
    """How far off is still fine: ``share`` of the target, but between ``least`` and ``most`` words."""

    share: float
    least: float
    most: float

    def words(self, target: int) -> int:
        """The tolerance for a target, in whole words."""
        return int(min(max(self.share * target, self.least), self.most))

    @classmethod
    def of(cls, words: int) -> "Tolerance":
        """Always so many words."""
        return cls(0.0, words, words)


@dataclass(frozen=True)
class LengthSpec:
    """What is too short, too long and blank. The defaults are the recipe's.

    Attributes:
      min_words: fewer are blank; also the lowest target.
      target: words asked for where neither row nor prompt says; None: as many as the reference has.
      lower, upper: tolerances below and above the target.
      max_words: at this many words the penalty is 1, growing linearly from the upper tolerance; None: the overshoot's
        share of the upper tolerance's end.
      min_visible: least share of characters that are not white space.
    """

    min_words: int = 150
    target: int | None = None
    lower: Tolerance = Tolerance(0.15, 350, 1000)
    upper: Tolerance = Tolerance(0.25, 600, 1500)
    max_words: int | None = None
    min_visible: float = 0.10

    def __post_init__(self):
        for name in ("lower", "upper"):
            if not isinstance(getattr(self, name), Tolerance):
                object.__setattr__(self, name, Tolerance(*getattr(self, name)))
        if self.min_words < 0:
            raise InputError("min_words", self.min_words, "0 or more words")


@dataclass(frozen=True)
class Length:
    """What was found.

    Attributes:
      words, target: counted and asked for.
      band: fewest and most words that cost nothing.
      length_penalty: 0-1. blank_penalty: 0 or 1.
      length_reward: 1 on target, 0 at the edges of the band and beyond.
    """

    words: int
    target: int
    band: tuple[int, int]
    length_penalty: float
    blank_penalty: float
    length_reward: float


def count_words(text: str) -> int:
    """Runs of letters and digits, HTML entities resolved: ``don't`` is two. (The trajectory's count is another.)"""
    return len(_WORD.findall(html.unescape(text)))


def requested_words(prompt: str, as_released: bool = False) -> int | None:
    """The number in the prompt's first ``N words long``; None when there is none.

    ``2,500 words long`` is 2500; as released it is 500.
    """
    found = (_REQUEST if as_released else _REQUEST_WITH_THOUSANDS).search(prompt)
    return int(found[1].replace(",", "")) if found else None


def without_length_request(prompt: str, as_released: bool = False) -> str:
    """The prompt without the sentence that last says ``words long``: the judge must not know the length.

    A prompt of that one sentence stays as it is. What follows the sentence is kept, and titles and initials
    (``Dr. Smith``) do not end one. As released, every full stop ends one, all that follows is lost, and a prompt that
    begins with the sentence stays as it is.
    """
    mention = max((found.start() for found in _MENTION.finditer(prompt)), default=None)
    if mention is None:
        return prompt
    ends = (_SENTENCE_END if as_released else _REAL_SENTENCE_END).finditer(prompt, 0, mention)
    start = max((end.end() for end in ends), default=0)
    before = prompt[:start].rstrip()
    if as_released:
        return before if start else prompt
    closing = _REAL_SENTENCE_END.search(prompt, mention)
    after = prompt[closing.end() :].strip() if closing else ""
    apart = "\n" if closing and (closing[0] == "\n" or prompt[start - 1 : start] == "\n") else " "
    return apart.join(part for part in (before, after) if part) or prompt


def length_target(prompt: str, spec: LengthSpec, given: int | None = None, reference_words: int = 0,
                  as_released: bool = False) -> int:  # fmt: skip
    """How long the story should be: what the row says, else the prompt, else ``spec.target``, else the reference.

    A number in a prompt and a reference's length are raised to ``spec.min_words``. As released the prompt goes first.

    Args:
      given: the row's number.
      reference_words: of a reference story.
    """
    said = requested_words(prompt, as_released)
    said = max(spec.min_words, said) if said else None
    ranked = (said, given) if as_released else (given, said)
    return next((n for n in (*ranked, spec.target) if n and n > 0), max(spec.min_words, reference_words))


def judge_length(text: str, target: int, spec: LengthSpec = LengthSpec()) -> Length:
    """Penalties of a text for its length and for being blank."""
    words = count_words(text)
    visible = sum(not char.isspace() for char in text) / max(1, len(text))
    blank = visible < spec.min_visible or words < spec.min_words
    below, above = spec.lower.words(target), spec.upper.words(target)
    low, high = target - below, target + above
    if words < low:
        penalty = min(1.0, 1 - words / max(1, low))
    elif words <= high:
        penalty = 0.0
    elif spec.max_words is not None and spec.max_words > high:
        penalty = min(max(1 - (spec.max_words - words) / max(1, spec.max_words - high), 0.0), 1.0)
    else:
        penalty = min(1.0, words / max(1, high) - 1)
    reward = 0.0
    if not blank and low <= words <= high:
        reward = 1 - abs(words - target) / max(1, below if words < target else above)
    return Length(words, target, (low, high), penalty, float(blank), reward)
