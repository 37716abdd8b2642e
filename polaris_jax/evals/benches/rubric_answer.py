"""Reads a judge's answer to a rubric, in any form: one value per criterion.

JSON of several layouts, lines (``**Name**: 7``, ``- Name: 7/10``, ``1. Name – 7``), tables, headings with a score
below, and lists within one line are all read. Names match in any letter case and with any hyphens, apostrophes and
marks; full-width characters count as plain ones. Nothing is guessed: an answer counts only if every criterion has
exactly one value within the scale. Otherwise it is ``Unusable``, with one of these kinds:

| kind | what is wrong |
|---|---|
| ``unusable`` | no criterion has a value |
| ``incomplete`` | a criterion has no value |
| ``ambiguous`` | a criterion has two values, or one of another scale (``7/10`` where 20 is the best, a percentage) |
| ``out_of_range`` | a value is not on the scale |
| ``truncated`` | JSON without its end |
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from polaris_jax.evals.benches.bench import Unusable
from polaris_jax.llm.replies import UnreadableReply, read_values, without_thinking

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−﹣"), "-")
_QUOTES = dict.fromkeys(map(ord, "’‘ʼ´`′"), "'") | dict.fromkeys(map(ord, "“”„«»"), '"')
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\ufe0f"))
# Marks before a name: bullets, numbers, check boxes, emphasis, quotation marks.
_MARKS = r"(?:[ \t#>*_~+•·▪◦‣●○■-]|\(?\d{1,2}[.):]|\(?[a-z][.)](?=\s)|\[[ x]?\]){0,16}+[\"'*_]*[ \t]*"
_BEFORE = rf"(?:^|(?<=[\n,;|{{(<])|(?<=[.:] )){_MARKS}"
# A colon follows a note in brackets after a name, such as (0-20) or (lower is better), but not a score.
_NOTE = r"(?:[ \t]*\((?![ \t]*[\d.,]+[ \t]*(?:/[ \t]*\d+[ \t]*)?\))[^()\n]{0,80}\)(?=[ \t\"'*_~]*[:=|→-]))?"
_AFTER = rf"[ \t]*[\"'*_~\])]*{_NOTE}[\"'*_~]*"
# Marks between a name and its score. After a colon a number may have a minus sign; after a dash it cannot.
_SIGN = r"(?:>|[ \t]*(?:[:=|→⇒\t]|->|(?<!\.)\.{2,}(?!\.)|…)+)[ \t\"'*_~\[(]*"
_DASH = r"[ \t]*-+[ \t\"'*_~\[(]*|[ \t]*[(\[](?=[^()\[\]\n-]{1,24}[)\]])[ \t*_]*|[ \t]+[*_]*"
_LABEL = r"(?:(?:score|rating|points|grade|得分|评分|分数)[ \t]*[:=]?[ \t*_]*)?"
_SCORE_WORD = r"(?:scores?|ratings?|value|points?|grade|得分|评分|打分|分数)"
_HEADING = re.compile(rf"^[^\w\n]*(?:final |overall )?{_SCORE_WORD}[^\w\n]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)
_UNMARKED = re.compile(rf"^{_MARKS}")
_LONGEST_RUN = 8
_RUN = re.compile(rf"([^\w\n])\1{{{_LONGEST_RUN},}}")
_SCORED = re.compile(rf"^{_MARKS}{_SCORE_WORD}[\"'*_]*(?:{_SIGN}|{_DASH})(.*)$")
_NAME_KEYS = ("criterion", "criteria", "name", "metric", "dimension", "category", "aspect")
_SCORE_KEYS = ("score", "rating", "value", "points", "grade", "evaluation_score")


class ValueScale(Protocol):
    """The values that a criterion may have. ``pattern`` finds one; ``read`` gives the value of a match.

    ``read`` raises ``Unusable`` (``ambiguous``, ``out_of_range``).
    """

    @property
    def pattern(self) -> str:
        """Regular expression of a value, in lower case."""

    def read(self, found: re.Match[str]) -> Any:
        """The value of a match of ``pattern``."""


@dataclass(frozen=True)
class NumberScale:
    """Numbers from ``low`` to ``high``; ``whole`` drops fractions, as the published code of integer scales does.

    In a range (``12-15``), the first number counts, as in the published code.
    """

    low: float
    high: float
    whole: bool = False

    pattern = (
        r"(?P<number>[+-]?\d+(?:[.,]\d+)?)(?!(?!分)[\w⁄])(?![.,]\d)"
        r"(?:[ \t]*(?:/|out of|of|von|sur|de|из)[ \t]*(?P<best>\d+(?:[.,]\d+)?)(?!\w))?"
        r"(?P<percent>[ \t]*%)?(?:[ \t]*(?:分|points?\b|pts\b))?"
        r"(?P<other>[ \t]*(?:->|[→⇒]|=>|or|oder|ou|或)[ \t]*\d+)?"
    )

    def read(self, found: re.Match[str]) -> float:
        """See ``ValueScale.read``."""
        best = found["best"]
        if best is not None and _number(best) != self.high:
            raise Unusable(f"{found[0].strip()!r} is out of {best}, but the scale ends at {self.high:g}", "ambiguous")
        if found["percent"] or found["other"]:
            raise Unusable(
                f"{found[0].strip()!r} is {'a percentage' if found['percent'] else 'two scores'}", "ambiguous"
            )
        return self.check(_number(found["number"]))

    def check(self, value: float) -> float:
        """Returns ``value`` if it is on the scale, else raises ``Unusable``."""
        value = math.trunc(value) if self.whole else value
        if not self.low <= value <= self.high:
            raise Unusable(f"{value:g} is not from {self.low:g} to {self.high:g}", "out_of_range")
        return value


def read_rubric(
    text: str,
    criteria: Sequence[str],
    scale: ValueScale | Mapping[str, ValueScale],
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The value of every criterion in an answer.

    Args:
      text: the judge's output; its reasoning is skipped.
      criteria: their names.
      scale: one for all criteria, or one for each (all with the same ``pattern``).
      aliases: other name → criterion.

    Raises:
      Unusable: see the module.
    """
    scales = scale if isinstance(scale, Mapping) else dict.fromkeys(criteria, scale)
    rubric = _Rubric(criteria, scales, aliases)
    answer = _plain(without_thinking(text))
    found = _collect(_in_json(_values(text), rubric))
    if not found:
        sections = [mark.end() for mark in _HEADING.finditer(answer)]
        if sections:
            found = _collect(_in_text(_before_rule(answer[sections[-1] :], rubric), rubric, remarks=True))
    if not found:
        found = _collect(_in_text(answer, rubric, remarks=False))
    if not found:
        raise Unusable("no criterion has a score")
    missing = [name for name in criteria if name not in found]
    if missing:
        raise Unusable(
            f"{len(missing)} of {len(criteria)} criteria without a score: {', '.join(missing)}", "incomplete"
        )
    return {name: found[name] for name in criteria}


class _Rubric:
    """The criteria with their name patterns and scales.

    Attributes:
      name: pattern of any name; value: pattern of a value.
    """

    def __init__(self, criteria: Sequence[str], scales: Mapping[str, ValueScale], aliases: Mapping[str, str]):
        self._scales = scales
        self._by_key = {
            _key(name): criterion for name, criterion in {**aliases, **{name: name for name in criteria}}.items()
        }
        longest = sorted((*criteria, *aliases), key=lambda name: -len(name))
        alternatives = "|".join(r"[\W_]{0,3}".join(map(re.escape, _tokens(name))) for name in longest)
        self.name = rf"(?P<name>(?<!\w)(?:{alternatives})(?![^\W_]))"
        self.value = next(iter(scales.values())).pattern

    def of(self, text: str) -> str | None:
        """The criterion named ``text``, or None."""
        return self._by_key.get(_key(text))

    def read(self, name: str, found: re.Match[str]) -> Any:
        """The value of a match of ``value``."""
        return self._scales[name].read(found)


def _collect(pairs: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Values by criterion.

    Raises:
      Unusable: ``ambiguous``: two different values of one criterion.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise Unusable(f"{name} has two scores, {found[name]} and {value}", "ambiguous")
    return found


def _values(text: str) -> list[Any]:
    """The JSON values in an answer; [] if there are none.

    Raises:
      Unusable: the JSON is cut off, or one name has two values.
    """
    try:
        return read_values(text)
    except UnreadableReply as wrong:
        if wrong.kind in ("ambiguous", "truncated"):
            raise Unusable(wrong.detail, wrong.kind) from None
        return []


def _in_json(values: list[Any], rubric: _Rubric) -> Iterator[tuple[str, Any]]:
    stack = values[::-1]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            fields = {str(key).casefold().strip(): inner for key, inner in value.items()}
            named = next((fields[key] for key in _NAME_KEYS if isinstance(fields.get(key), str)), None)
            scored = next((fields[key] for key in _SCORE_KEYS if _is_scalar(fields.get(key))), None)
            if named is not None and scored is not None and (name := rubric.of(_plain(named))) is not None:
                yield from _scalar(name, scored, rubric)
                continue
            for key, inner in value.items():
                name = rubric.of(_plain(str(key)))
                if name is not None and isinstance(inner, Mapping):
                    parts = {str(part).casefold(): one for part, one in inner.items()}
                    inner = next((parts[part] for part in _SCORE_KEYS if _is_scalar(parts.get(part))), None)
                if name is not None and _is_scalar(inner):
                    yield from _scalar(name, inner, rubric)
                elif isinstance(inner, Mapping | list):
                    stack.append(inner)
        elif isinstance(value, list):
            stack += value


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _scalar(name: str, value: Any, rubric: _Rubric) -> Iterator[tuple[str, Any]]:
    """The value in a JSON number or text, if it holds exactly one."""
    text = _plain(value) if isinstance(value, str) else repr(value)
    if (found := re.fullmatch(rf"[ \t\"'*_\[(]*{rubric.value}[ \t\"'*_\])]*", text)) is not None:
        yield name, rubric.read(name, found)


def _before_rule(section: str, rubric: _Rubric) -> str:
    """``section`` up to the first rule (``---``) with a score before it."""
    for rule in _RULE.finditer(section):
        before = section[: rule.start()]
        if next(_in_text(before, rubric, remarks=True), None) is not None:
            return before
    return section


def _in_text(text: str, rubric: _Rubric, remarks: bool) -> Iterator[tuple[str, Any]]:
    """Scores in lines and tables; ``remarks`` allows words right after a score (``12 for its warmth``)."""
    tail = r"(?!\w)" if remarks else r"(?=[ \t]*(?:$|[\n|,;.()<:*_\]}\"'-]))"
    item = re.compile(
        rf"{_BEFORE}{rubric.name}{_AFTER}(?:(?:{_SIGN}){_LABEL}|(?:{_DASH}){_LABEL}(?![+-]\d)){rubric.value}{tail}",
        re.MULTILINE,
    )
    alone = re.compile(rf"[ \t*_\"'\[(]*{rubric.value}{tail}")
    lines = text.split("\n")
    yield from _in_tables([line for line in lines if line.count("|") >= 2], rubric)
    heading: str | None = None
    fresh = False
    for line in lines:
        if line.count("|") >= 2:
            continue
        items = [(name, found) for found in item.finditer(line) if (name := rubric.of(found["name"])) is not None]
        yield from ((name, rubric.read(name, found)) for name, found in items)
        named = rubric.of(_UNMARKED.sub("", line).rstrip(" \t:*_\"'-"))
        if items or named is not None:
            heading, fresh = None if items else named, True
        elif heading is not None and line.strip():
            scored = _SCORED.match(line)
            if (value := alone.match(scored[1] if scored else line if fresh else "")) is not None:
                yield heading, rubric.read(heading, value)
                heading = None
            fresh = False


def _in_tables(rows: Sequence[str], rubric: _Rubric) -> Iterator[tuple[str, Any]]:
    """Scores in rows of cells, with one criterion per row or per column."""
    column: int | None = None
    across: list[str | None] = []
    for row in rows:
        cells = [cell.strip(" \t*_\"'") for cell in row.strip().strip("|").split("|")]
        known = [rubric.of(_UNMARKED.sub("", cell)) for cell in cells]
        values = [re.fullmatch(rubric.value, cell.strip("[]() ")) for cell in cells]
        if len({name for name in known if name is not None}) > 1:
            across = known
        elif across and len(cells) == len(across) and any(values):
            pairs = zip(across, values, strict=True)
            yield from ((name, rubric.read(name, value)) for name, value in pairs if name and value)
        elif (at := next((n for n, name in enumerate(known) if name is not None), None)) is not None:
            name = known[at] or ""
            after = [n for n in range(at + 1, len(cells)) if values[n] is not None]
            if column in after:
                after = [column]
            read = {rubric.read(name, found) for n in after if (found := values[n]) is not None}
            if len(read) > 1:
                raise Unusable(f"{name} has several numbers in its row: {row.strip()[:80]!r}", "ambiguous")
            yield from ((name, value) for value in read)
        else:
            column = next((n for n, cell in enumerate(cells) if re.fullmatch(_SCORE_WORD + r"\b.*", cell)), column)


def _plain(text: str) -> str:
    """Lower case, with plain quotation marks, dashes and digits, and without invisible characters.

    A run of one mark or space is cut to eight, so that the patterns here take linear time on any text.
    """
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).casefold().translate(_DASHES | _QUOTES | _INVISIBLE)
    return _RUN.sub(lambda run: run[1] * _LONGEST_RUN, text)


def _tokens(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", _plain(name))


def _key(name: str) -> str:
    return "".join(_tokens(name))


def _number(text: str) -> float:
    return float(text.replace(",", "."))
