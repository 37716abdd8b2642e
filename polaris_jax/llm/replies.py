"""The only reader of values in a model's reply; judges, scores and benchmarks use it.

A reply holds JSON alone, in a fence, or before, after or between prose. Common slips are accepted: trailing commas,
typographic or full-width punctuation, single quotes, Python's constants, quotation marks that were not escaped. Nothing
is completed or chosen: a value that was cut off is not read, and neither of two different values is taken.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 64  # nested brackets; far below the limits of Python's parser and of recursive functions
_MAX_BRACKETS = 200  # most bracketed spans that are tried, so that the work is linear in the length of the reply
_OPENS, _CLOSES = "{[｛［", "}]｝］"
_QUOTES = {'"': '"', "“": "”", "„": "“”", "＂": "＂", "'": "'", "‘": "’"}
_OPENING = re.compile(r"[{\[｛［]")
_JSON_LIKE = re.compile(r"""[{｛]\s*(?:["“„＂'‘}｝]|\Z)|[\[［]\s*(?:["“„＂{｛\[［\]］\d-]|\Z)""")
_LANDMARK = re.compile(r"""[{}\[\]｛｝［］"“„＂'‘]""")
_AFTER_STRING = re.compile(r"\s*(?:[,:}\]，：｝］]|\Z)")
_BEFORE_STRING = re.compile(r"[{\[,:｛［，：、]\s*\Z")
_CUT = "the JSON is cut off"
_WORDS = {"True": "true", "False": "false", "None": "null"}
_CONSTANT = re.compile(r"\b(?:True|False|None)\b")
_SHARE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?\s*/\s*\d+)(?![\w.])")  # 7/10 without quotation marks
_PLUS = re.compile(r"(?<![\w.])\+(?=\d)")
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\|"')
_FENCE = re.compile(r"\A\s*```[A-Za-z]*[ \t]*\n?|\n?[ \t]*```\s*\Z")
_NUMBER = re.compile(r"([+-]?\d+(?:[.,]\d+)?)(?:\s*/\s*(\d+))?")
_SURROGATE = re.compile("[\ud800-\udfff]")


class UnreadableReply(ValueError):
    """A reply without a readable value; the message is one line.

    Attributes:
      kind: ``empty`` (no text), ``invalid_json`` (no JSON, cut JSON, or not the requested JSON) or ``ambiguous``
        (several different values, or one name with two values).
      detail: what is wrong.
    """

    def __init__(self, kind: str, detail: str):
        self.kind, self.detail = kind, " ".join(clean_text(detail).split())[:200]
        super().__init__(self.detail)


def read_value(text: str, fits: Callable[[Any], Any] = lambda value: value) -> Any:
    """The JSON value in a reply.

    Args:
      text: the reply, with its reasoning.
      fits: checks a value: returns it, perhaps converted, or raises ``ValueError``. By default, any value fits.

    Returns:
      The result of ``fits`` for the only value that it accepts; equal values count as one, and outer values come before
      inner ones. Strings have no lone surrogates; numbers are finite.

    Raises:
      UnreadableReply: there is no single value; see the class.
      ValueError: the last error of ``fits``, if it accepted no value.
    """
    found: list[Any] = []
    wrong: ValueError = UnreadableReply("invalid_json", "no JSON in the reply")
    for value in read_values(text):
        try:
            found.append(fits(value))
        except ValueError as error:
            wrong = error
    if not found:
        raise wrong
    if any(other != found[0] for other in found[1:]):
        raise UnreadableReply("ambiguous", f"{len(found)} different values in one reply")
    return found[0]


def read_values(text: str) -> list[Any]:
    """Every JSON value in a reply, in order: objects and arrays, or one bare value if that is the whole reply.

    Raises:
      UnreadableReply: there is no value.
    """
    stripped = text.strip()
    # Look for JSON first, because a story inside it may contain <think>.
    answer = stripped if stripped[:1] in tuple(_OPENS) else without_thinking(stripped)
    if not answer:
        raise UnreadableReply("empty", "no text in the reply")
    values, wrong = [], None
    for part in _values(answer):
        if not isinstance(part, UnreadableReply):
            values.append(part[0])
        elif part.kind == "ambiguous" or part.detail == _CUT:
            raise part
        else:
            wrong = wrong or part
    if values:
        return values
    if wrong is not None:
        raise wrong
    try:
        return [_checked(json.loads(_FENCE.sub("", answer), parse_constant=_no_constant))]
    except (ValueError, RecursionError):
        raise UnreadableReply("invalid_json", f"no JSON in the reply: {answer[:60]!r}") from None


def read_number(value: Any, out_of: float | None = None) -> float | None:
    """A number, or a number written as text (``"7"``, ``"7,5"``, ``"７"``, ``"**7**"``); None for anything else.

    Args:
      out_of: the scale; ``7/10`` is 7 on a scale of 10 and unreadable on any other. None does not read this form.

    Returns:
      A finite number; None for booleans and for numbers too large for a float.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        match = _NUMBER.fullmatch(unicodedata.normalize("NFKC", value).strip().strip("*_`").strip())
        if match is None or (match[2] is not None and (out_of is None or float(match[2]) != out_of)):
            return None
        value = float(match[1].replace(",", "."))
        value = int(value) if math.isfinite(value) and value == int(value) else value
    if not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def without_thinking(text: str) -> str:
    """``text`` after its ``<think>`` block; empty if the block never closes, unchanged if there is none.

    Some chat templates open the block in the prompt, so a closing tag alone also ends one.
    """
    thought, closed, answer = text.partition("</think>")
    if closed:
        return answer.strip()
    return "" if thought.lstrip().startswith("<think>") else text.strip()


def clean_text(text: str) -> str:
    """``text`` as valid Unicode: surrogate pairs are joined, lone surrogates become U+FFFD."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass
class _Span:
    """A span from a bracket to its closing one, in pieces ``(is a string, text without its quotation marks)``."""

    text: str
    pieces: list[tuple[bool, str]] = field(default_factory=list)


def _values(text: str) -> Iterator[tuple[Any] | UnreadableReply]:
    """For every outermost bracketed span: its value in a tuple, or the error."""
    at = 0
    for _ in range(_MAX_BRACKETS):
        opening = _OPENING.search(text, at)
        if opening is None:
            return
        # Prose in brackets may hold a value, as in [Scores: {...}]. A span that looks like JSON but is invalid may not:
        # the inner values of a list that was cut off are not the answer.
        json_like = _JSON_LIKE.match(text, opening.start()) is not None
        found = _span(text, opening.start())
        value = found if isinstance(found, UnreadableReply) else _parse(found)
        if json_like or not isinstance(value, UnreadableReply):
            yield value
            if isinstance(found, UnreadableReply):
                return
            at = opening.start() + len(found.text)
        else:
            at = opening.end()


def _span(text: str, start: int) -> _Span | UnreadableReply:
    pieces: list[tuple[bool, str]] = []
    depth, at, plain = 0, start, start
    while (landmark := _LANDMARK.search(text, at)) is not None:
        mark, at = landmark[0], landmark.end()
        if mark in _OPENS:
            depth += 1
            if depth > MAX_DEPTH:
                return UnreadableReply("invalid_json", f"brackets nested deeper than {MAX_DEPTH}")
        elif mark in _CLOSES:
            depth -= 1
            if depth == 0:
                pieces.append((False, text[plain:at]))
                return _Span(text[start:at], pieces)
        elif _BEFORE_STRING.search(text, max(start, landmark.start() - 40), landmark.start()):
            end = _string_end(text, at, _QUOTES[mark])
            if end is None:
                break
            pieces += [(False, text[plain : landmark.start()]), (True, text[at:end])]
            at = plain = end + 1
    return UnreadableReply("invalid_json", _CUT)


def _string_end(text: str, at: int, closing: str) -> int | None:
    """Index of the quotation mark that ends a string: the first one after which JSON continues."""
    for mark in re.compile(rf"\\.|[{closing}]", re.DOTALL).finditer(text, at):
        if mark[0][0] != "\\" and _AFTER_STRING.match(text, mark.end()):
            return mark.start()
    return None


def _parse(span: _Span) -> tuple[Any] | UnreadableReply:
    """The value of a span as strict JSON, else with its lexical slips repaired; or the error."""
    try:
        try:
            return (_checked(_loads(span.text)),)
        except json.JSONDecodeError:
            return (_checked(_loads(_repaired(span))),)
    except UnreadableReply as unreadable:
        return unreadable
    except ValueError as error:
        return UnreadableReply("invalid_json", f"not JSON: {error}")


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_constant=_no_constant, object_pairs_hook=_object)


def _repaired(span: _Span) -> str:
    repaired: list[str] = []
    for is_string, piece in span.pieces:
        if is_string:
            repaired.append('"' + _ESCAPE.sub(_escaped, piece) + '"')
            continue
        plain = unicodedata.normalize("NFKC", piece).replace("、", ",")
        plain = _PLUS.sub("", _SHARE.sub(r'"\1"', _CONSTANT.sub(lambda word: _WORDS[word[0]], plain)))
        repaired.append(plain)
    # Strings are left alone: a trailing comma and its bracket always lie in one plain piece.
    return "".join(part if part[:1] == '"' else re.sub(r",(\s*[}\]])", r"\1", part) for part in repaired)


def _escaped(match: re.Match) -> str:
    found = match[0]
    return {'"': '\\"', "\\": ""}.get(found, found)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made and made[name] != value:
            raise UnreadableReply("ambiguous", f"{name!r} has two values")
        made[name] = value
    return made


def _no_constant(name: str) -> None:
    raise UnreadableReply("invalid_json", f"{name} is not a number of JSON")


def _checked(value: Any) -> Any:
    """The value with clean strings. ``MAX_DEPTH`` limits the recursion.

    Raises:
      UnreadableReply: a number is not finite.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UnreadableReply("invalid_json", "a number beyond all numbers")
    if isinstance(value, list):
        return [_checked(part) for part in value]
    if isinstance(value, dict):
        return {clean_text(name): _checked(part) for name, part in value.items()}
    return value
