"""Length and blankness: words requested, words written, and the penalty for the difference (POLARIS §3.4)."""

from dataclasses import dataclass

from polaris_jax.options import NOT_NEGATIVE, SHARE, Bounds, check, option, section
from polaris_jax.rewards.requested_length import length_request
from polaris_jax.rewards.word_count import count_characters, count_words

ROW, PROMPT, CONFIG, HUMAN_REFERENCE, NOWHERE = "row", "prompt", "config", "human reference", "nowhere"


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference from the target: a ``share`` of it, but between ``least`` and ``most`` words."""

    share: float = option(bounds=NOT_NEGATIVE, doc="share of the target")
    least: float = option(bounds=NOT_NEGATIVE, doc="fewest words, for any target")
    most: float = option(bounds=NOT_NEGATIVE, doc="most words, for any target")

    def words(self, target: int) -> int:
        """The tolerance for ``target``, in whole words."""
        return int(min(max(self.share * target, self.least), self.most))

    @classmethod
    def of(cls, words: int) -> "Tolerance":
        """A fixed number of words for every target."""
        return cls(0.0, words, words)


@dataclass(frozen=True)
class LengthSpec:
    """Defines too short, too long and blank. The defaults are the recipe's. Tolerances may be given as triples.

    Raises:
      InputError: a field is out of range.
    """

    min_words: int = option(
        150, bounds=Bounds("0 or more words", least=0), doc="fewer words are blank; also the lowest target"
    )
    target: int | None = option(
        None,
        bounds=NOT_NEGATIVE,
        doc="target words if neither row nor prompt names any; None: as many as the human reference has",
    )
    lower: Tolerance = section(Tolerance(0.15, 350, 1000), as_row=True, doc="what may be missing")
    upper: Tolerance = section(Tolerance(0.25, 600, 1500), as_row=True, doc="what may be too much")
    max_words: int | None = option(
        None,
        bounds=NOT_NEGATIVE,
        doc="words at which the penalty, growing linearly from the upper tolerance, is 1; None: the overshoot's share "
        "of the upper tolerance's end",
    )
    min_visible: float = option(0.10, bounds=SHARE, doc="least share of characters that are not white space")

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            if not isinstance(getattr(self, name), Tolerance):
                object.__setattr__(self, name, Tolerance(*getattr(self, name)))
        check(self)


@dataclass(frozen=True)
class LengthTarget:
    """The length that a story should have, and the source of this number.

    Attributes:
      words: in ``unit``; None when no length was requested: then every length is right.
      least, most: the requested range; ``most`` is None for an open one. For a single number both are equal.
      unit: ``words`` or ``characters``.
      source: ``row``, ``prompt``, ``config`` (``LengthSpec.target``), ``human reference`` or ``nowhere``.
      guessed: whether the length is not requested clearly: the number is only mentioned, one of several, or missing.
    """

    words: int | None
    least: int = 0
    most: int | None = None
    unit: str = "words"
    source: str = NOWHERE
    guessed: bool = False

    @classmethod
    def of(cls, words: int, source: str = ROW) -> "LengthTarget":
        """A target of a single number."""
        return cls(words, words, words, source=source)

    def count(self, text: str) -> int:
        """The length of a text in the target's unit."""
        return count_words(text) if self.unit == "words" else count_characters(text)


@dataclass(frozen=True)
class Length:
    """The length of a text compared with its target.

    Attributes:
      words, target: counted and requested, in the target's unit.
      band: smallest and largest length without a penalty; None where there is no limit.
      length_penalty: 0-1. blank_penalty: 0 or 1.
      length_reward: 1 on target, 0 at the edges of the band and outside.
    """

    words: int
    target: int | None
    band: tuple[int, int | None]
    length_penalty: float
    blank_penalty: float
    length_reward: float


def requested_words(prompt: str) -> int | None:
    """The length that a prompt asks for (``length_request``), in words or characters; None when it names none."""
    request = length_request(prompt)
    return request.number if request else None


def find_target(
    prompt: str, spec: LengthSpec = LengthSpec(), given: int | None = None, human_reference_words: int = 0
) -> LengthTarget:
    """The target length: from the row, else the prompt, else ``spec.target``, else the human reference.

    A number in a prompt, and the length of a human reference, are raised to at least ``spec.min_words``.

    Args:
      given: the row's number of words.
      human_reference_words: words of the human story, by ``count_words``.
    """
    if given and given > 0:
        return LengthTarget.of(given)
    request = length_request(prompt)
    if request is not None:
        least = spec.min_words if request.unit == "words" else 1
        most = None if request.most is None else max(least, request.most)
        return LengthTarget(max(least, request.number), request.least, most, request.unit, PROMPT, request.guessed)
    if spec.target:
        return LengthTarget.of(spec.target, CONFIG)
    if human_reference_words:
        return LengthTarget.of(max(spec.min_words, human_reference_words), HUMAN_REFERENCE)
    return LengthTarget(None, guessed=True)


def judge_length(
    text: str, target: int | LengthTarget, spec: LengthSpec = LengthSpec(), words: int | None = None
) -> Length:
    """Penalties of a text for its length and for being blank.

    Args:
      target: a number of words, or a ``LengthTarget``; without a number no length is wrong.
      words: length of the text; None counts it here.
    """
    target = target if isinstance(target, LengthTarget) else LengthTarget.of(target)
    counted = count_words(text) if words is None else words
    visible = sum(not char.isspace() for char in text) / max(1, len(text))
    blank = visible < spec.min_visible or counted < spec.min_words
    if target.words is None:
        return Length(counted, None, (0, None), 0.0, float(blank), 0.0)
    if target.unit != "words":
        counted = target.count(text)
    least = min(target.least, target.words)
    most = None if target.most is None else max(target.most, target.words)
    below, above = spec.lower.words(least), 0 if most is None else spec.upper.words(most)
    low, high = max(0, least - below) if least else 0, None if most is None else most + above
    if counted < low:
        penalty = min(1.0, 1 - counted / max(1, low))
    elif high is None or counted <= high:
        penalty = 0.0
    elif spec.max_words is not None and spec.max_words > high:
        penalty = min(max(1 - (spec.max_words - counted) / max(1, spec.max_words - high), 0.0), 1.0)
    else:
        penalty = min(1.0, counted / max(1, high) - 1)
    reward = 0.0
    if not blank and penalty == 0:
        missing, over = max(0, least - counted), 0 if most is None else max(0, counted - most)
        reward = 1 - (missing / max(1, below) if missing else over / max(1, above))
    return Length(counted, target.words, (low, high), penalty, float(blank), reward)
