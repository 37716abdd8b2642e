"""Fields of an answer: each kind with its instruction, its schema and its checks (specification 2.6).

Limits stand twice: in the schema, for servers that constrain decoding, and in ``read``, for what a schema cannot
express (words, alphabet, single lines). What a plain substitution can repair (list marks, line breaks, special strings,
marks outside the preview's alphabet) is repaired before the checks.
"""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker
from polaris_jax.scaffold.llm.question import InvalidField, Issues, QuestionField, closed
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import DIMENSIONS, Described, Vector, count_words

LEAST_WORDS, MOST_WORDS = 5, 45  # per bullet
_MARK = re.compile(r"^\s*(?:[-*•–—]\s+|\(?\d{1,2}[.)]\s+)+")
_LABEL = re.compile(r"^(?:scene|arc|chapter|part)\s+(?:\d+|[ivxlc]+)\s*[:.–—-]\s*", re.I)
_SENTENCE = re.compile(r"(?<=[.!?])['\"”’)]*\s+")


def chars(words: int) -> int:
    """Characters that are more than enough for ``words`` words of English."""
    return max(60, min(limits.MAX_BULLET, 7 * words + 12))


def _texts(value: Any, most: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidField("it must be a list of strings")
    return [line for item in value[:most] if (line := limits.one_line(_MARK.sub("", item), 4_000))]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidField("it must be a string")
    return value


def bullet_lines(value: Any, bound: Bound) -> tuple[str, ...]:
    """Bullets of one line, 5 to 45 words and at most 300 characters each, without repetitions.

    Raises:
      InvalidField: a bullet is too short or too long, or there is none.
    """
    lines = tuple(dict.fromkeys(text[0].upper() + text[1:] for text in _texts(value, bound.count)))
    most = min(MOST_WORDS, bound.words + bound.words // 2)
    if not lines:
        raise InvalidField("write at least one bullet")
    for line in lines:
        words = count_words(line)
        if words < LEAST_WORDS:
            raise InvalidField(f"a bullet has only {words} words, write {LEAST_WORDS} to {bound.words}: {line[:80]}")
        if words > most or len(line) > limits.MAX_BULLET or len(line) >= chars(bound.words):
            raise InvalidField(f"a bullet is too long, write at most {bound.words} words: {line[:80]}")
    return lines


def _string(most: int) -> dict:
    return {"type": "string", "maxLength": most}


def _list(items: dict, most: int, least: int = 1) -> dict:
    return {"type": "array", "minItems": least, "maxItems": most, "items": items}


def bullets(key: str, says: str, bound: Bound, checker: FaithfulnessChecker) -> QuestionField:
    """A list of bullets inside ``bound``."""
    many = f"{(bound.count + 1) // 2} to {bound.count} bullets" if bound.count > 1 else "one bullet"
    return QuestionField(
        key,
        f"{says} ({many}, each one sentence of {LEAST_WORDS} to {bound.words} words)",
        _list(_string(chars(bound.words)), bound.count),
        lambda value: bullet_lines(value, bound),
        checker.issues,
        checker.repair,
    )


def line(key: str, says: str, words: int, checker: FaithfulnessChecker, titled: bool = False) -> QuestionField:
    """A short line without a full stop: a name, a title, a perspective."""
    most = min(7 * words + 12, limits.MAX_NAME)

    def read(value: Any) -> str:
        text = _LABEL.sub("", limits.one_line(_text(value), 4_000)).strip(" *_").rstrip(".")
        text = text.strip("\"'“”‘’").rstrip(".") if text[:1] in "\"'“‘" else text
        if not text:
            raise InvalidField("it is empty")
        if count_words(text) > words + words // 2 or len(text) >= most:
            raise InvalidField(f"it is too long, write at most {words} words")
        return text[0].upper() + text[1:]

    return QuestionField(
        key, f"{says} (at most {words} words)", _string(most), read, lambda text: checker.issues([text], titled)
    )


def focuses(key: str, says: str, most: int, checker: FaithfulnessChecker) -> QuestionField:
    """One to ``most`` phrases of at most 65 characters without semicolons."""

    def read(value: Any) -> tuple[str, ...]:
        items = tuple(dict.fromkeys(item.replace(";", ",").rstrip(".") for item in _texts(value, most)))
        if not items:
            raise InvalidField("name at least one")
        if long := next((item for item in items if len(item) > limits.MAX_FOCUS), None):
            raise InvalidField(f"a phrase is longer than {limits.MAX_FOCUS} characters: {long[:80]}")
        return items

    keep = lambda items: tuple(item for item in items if not checker.unknown(item, titled=True)) or None  # noqa: E731
    says = f"{says} (1 to {most} short phrases)"
    return QuestionField(
        key, says, _list(_string(limits.MAX_FOCUS), most), read, lambda items: checker.issues(items, True), keep
    )


MEANINGS = (
    "action = bodily movement and conflict; dialog = share of conversation; world_building = place, customs and "
    "rules of the world; exposition = background, explanation, inner commentary; romantic = affection between "
    "lovers; erotic = sexual content; pacing = speed of events, 0 contemplative, 50 balanced, 99 hectic"
)


def scores(key: str) -> QuestionField:
    """The seven dimensions of specification 2.5."""
    whole = {"type": "integer", "minimum": 0, "maximum": 99}
    read = lambda value: Vector(**{name: min(99, max(0, int(value[name]))) for name in DIMENSIONS})  # noqa: E731
    says = f"whole numbers from 0 to 99. {MEANINGS}"
    return QuestionField(key, says, closed(dict.fromkeys(DIMENSIONS, whole)), read)


def numbers(key: str, says: str, low: int, high: int, most: int) -> QuestionField:
    """Strictly increasing whole numbers from ``low`` to ``high``, at most ``most`` of them, possibly none."""

    def read(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise InvalidField("it must be a list of whole numbers")
        if any(a >= b for a, b in pairwise(value)):
            raise InvalidField("the numbers must increase strictly")
        if value and not low <= value[0] <= value[-1] <= high:
            raise InvalidField(f"the numbers must lie between {low} and {high}")
        return tuple(value[:most])

    whole = {"type": "integer", "minimum": low, "maximum": high}
    return QuestionField(key, says, _list(whole, most, 0), read)


def passage(
    key: str, says: str, low: int, high: int, aim: tuple[int, int], checker: FaithfulnessChecker
) -> QuestionField:
    """A paragraph of ``low`` to ``high`` words in the preview's alphabet."""

    def read(value: Any) -> str:
        words = limits.preview_words(_text(value))
        if len(words) < 0.9 * count_words(value):
            raise InvalidField("write plain English words in Latin letters, without symbols")
        if not low <= len(words) <= high:
            raise InvalidField(f"it has {len(words)} words, write {aim[0]} to {aim[1]}")
        if words[-1].rstrip("\"'”’)")[-1:] not in (".", "!", "?", "…"):
            raise InvalidField("it breaks off; end with a full sentence")
        return " ".join(words)

    def repair(text: str) -> str | None:
        kept = " ".join(part for part in _SENTENCE.split(text) if not checker.issues([part]))
        return kept if count_words(kept) >= low else None

    says = f"{says} (one paragraph of {aim[0]} to {aim[1]} words)"
    return QuestionField(key, says, _string(8 * high), read, lambda text: checker.issues([text]), repair)


def tags(key: str, says: str) -> QuestionField:
    """Exactly seven different tags of one to eight words."""

    def read(value: Any) -> tuple[str, ...]:
        cleaned = (" ".join(limits.preview_words(re.sub(r"[,;!?#]", " ", item))) for item in _texts(value, 7))
        found = tuple(dict.fromkeys(tag.rstrip(".") for tag in cleaned if tag))
        if len(found) != 7:
            raise InvalidField(f"write seven different tags, {len(found)} are usable")
        if any(count_words(tag) > 8 for tag in found):
            raise InvalidField("a tag has more than eight words")
        return found

    return QuestionField(key, f"{says} (exactly seven, each 1 to 3 words)", _list(_string(50), 7, 7), read)


def groups(
    key: str,
    says: str,
    count: int,
    bound: Bound,
    checker: FaithfulnessChecker,
    fits: Callable[[Described], str | None] = lambda group: None,
    least: int = 1,
) -> QuestionField:
    """Named groups of bullets: characters or archetypes. ``fits`` returns what is wrong with a group, or None."""
    item = closed({"name": _string(60), "bullets": _list(_string(chars(bound.words)), bound.count)})

    def read(value: Any) -> tuple[Described, ...]:
        found: dict[str, Described] = {}
        for entry in value[:count] if isinstance(value, list) else ():
            name = limits.one_line(_text(entry["name"]), limits.MAX_NAME).strip(" \"'“”*_.:")
            if not name:
                raise InvalidField("a name is empty")
            group = Described(name, bullet_lines(entry["bullets"], bound))
            if wrong := fits(group):
                raise InvalidField(wrong)
            found.setdefault(name, group)
        if not found:
            raise InvalidField("name at least one")
        return tuple(found.values())

    def repair(found: Iterable[Described]) -> tuple[Described, ...] | None:
        kept = [(group, checker.repair(group.bullets)) for group in found]
        return tuple(Described(group.name, lines) for group, lines in kept if lines) or None

    def issues(found: Iterable[Described]) -> Issues:
        return checker.issues(text for group in found for text in group.bullets)

    many = f"{least} to {count}" if least < count else f"{count}"
    says = f"{says} ({many}, each with 1 to {bound.count} bullets of {LEAST_WORDS} to {bound.words} words)"
    return QuestionField(key, says, _list(item, count, least), read, issues, repair)
