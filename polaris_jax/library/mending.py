"""Repairs paragraphs: words broken at line ends, cut-off drop capitals, small capitals, marks of notes and type."""

import re

from polaris_jax.library.spelling import Spelling

_HYPHENS = ("-", "‐", "\xad", "¬", "–")
_CUT = re.compile(r"([^\W\d_]+)([-‐\xad¬])$")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_SUSPENDED = re.compile(r"(?:and|or|to|nor)\s+[^\W\d_]+[-‐]", re.I)
_NUMBERS = re.compile(r"\d[-–]$")
_CAPITAL = re.compile(r"([“\"'‘]?)([B-HJ-NP-Z]) ([A-Z]{2,}|[a-z]+)(?=[\W])")
_OPENING_CAPITALS = re.compile(r"[“\"'‘_]*((?:[A-Z][A-Z'’]*[.,]? )+)(?=[a-z])")
_CAPITALS = re.compile(r"[A-Z]+(?:['’][A-Z]+)*")
_NOTE_SIGN = re.compile(r"(?:(?<=[a-z]{2})|(?<=[.,;:!?”’\"')]))(?:\*{1,2}|[†‡])(?=[\s.,;:!?)”’\"—]|$)")
_SUPERSCRIPT = re.compile("[¹²³⁰⁴-⁹]")
_RAISED = re.compile(
    r"(?<=[^\W\d_.,;:!?”’\"')])(?:[¹²³⁰⁴-⁹]+|\^\{?\d{1,3}\}?)|(?<=[.,;:!?”’\"')])(?:[¹²³⁰⁴-⁹]+|\^\{\d{1,3}\})"
)
_RAISED_LETTERS = re.compile(r"(?<=[A-Za-z])\^(?:\{([a-z]{1,4})\}|([a-z]{1,2})\b)")
_INNER_NOTE = re.compile(r"\s*\[(?:foot)?notes?[ :.\d][^\[\]]*\]", re.I)
_TYPE = re.compile(r"(?<![\w=+])([=+])(?=[^\W\d_“\"'‘])([^=+\n]{1,200}?)(?<=[\w.,;:!?”’\"'])\1(?![\w=+])")
_MAX_OPENING_WORDS = 12


def unwrap(lines: list[str], spelling: Spelling) -> str:
    """Joins wrapped lines into one; words cut at line ends are joined."""
    stripped = list(map(str.strip, lines))
    if not any(line[-1:] in _HYPHENS for line in stripped):
        return " ".join(stripped)
    text = stripped[0]
    for line in stripped[1:]:
        head, between = _seam(text, line, spelling)
        text = f"{head}{between}{line}"
    return text


def keep_lines(lines: list[str], spelling: Spelling) -> list[str]:
    """Keeps the lines; the second half of a word cut at a line end moves up to the first."""
    kept = list(map(str.strip, lines))
    for index in range(len(kept) - 1):
        head, between = _seam(kept[index], kept[index + 1], spelling)
        if not between:
            rest, _, kept[index + 1] = kept[index + 1].partition(" ")
            kept[index] = head + rest
    return [line for line in kept if line]


def _seam(above: str, line: str, spelling: Spelling) -> tuple[str, str]:
    """The upper of two lines, without a hyphen that only cuts a word, and the separator between the lines."""
    apart = (above, " ")
    if not above or above[-1] not in _HYPHENS:
        return apart
    if _NUMBERS.search(above) and line[:1].isdigit():
        return above, ""
    cut, first = _CUT.search(above), _FIRST_WORD.match(line)
    if cut is None or first is None:
        return apart
    if cut[2] in "\xad¬":
        return above[:-1], ""
    if _SUSPENDED.match(line) or (len(cut[1]) == 1 and cut[1].isupper()):
        return apart  # "two- and three-storied"; an abbreviated name, "Mr. B- said"
    if above[cut.start() - 1 : cut.start()] in ("-", "‐") or line[first.end() : first.end() + 1] in ("-", "‐"):
        return above, ""  # "matter-of-fact"
    return (above[:-1], "") if spelling.joins(cut[1], first[0]) else (above, "")


def strip_note_marks(text: str) -> str:
    """Removes reference marks, bracketed notes inside a paragraph, marks of bold type and soft hyphens."""
    if "\xad" in text:
        text = text.replace("\xad", "")
    if "*" in text or "†" in text or "‡" in text:
        text = _NOTE_SIGN.sub("", text)
    if "^" in text:
        text = _RAISED_LETTERS.sub(lambda match: match[1] or match[2], text)
    if "^" in text or (not text.isascii() and _SUPERSCRIPT.search(text)):
        text = _RAISED.sub("", text)
    if "[" in text:
        text = _INNER_NOTE.sub("", text)
    if "=" in text or "+" in text:
        text = _TYPE.sub(r"\2", text)
    return text


def mend_opening(text: str, spelling: Spelling) -> str:
    """Repairs the first paragraph of a chapter: "T HE lamp" to "The lamp", "THE OLD LAMP was" to "The old lamp was"."""
    capital = _CAPITAL.match(text)
    if capital and spelling.is_capital_cut_off(capital[2], capital[3]):
        text = capital[1] + capital[2] + text[capital.start(3) :]
    opening = _OPENING_CAPITALS.match(text)
    if not opening or not re.search(r"[A-Z]{2}", opening[1]) or len(opening[1].split()) > _MAX_OPENING_WORDS:
        return text
    words = _CAPITALS.sub(lambda match: spelling.in_small_letters(match[0]), opening[1])
    words = words[:1].upper() + words[1:]
    return text[: opening.start(1)] + words + text[opening.end(1) :]
