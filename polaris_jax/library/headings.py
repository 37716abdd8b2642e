"""The grammar of heading lines: which single lines can head a part, a chapter or a named section, and what they say.

This module judges one line at a time. Whether a line that can be a heading is one is decided from the whole book, in
``outline``.
"""

import re
from dataclasses import dataclass

UNIT_KEYWORDS = ("chapter", "letter", "canto", "stave", "episode", "section", "adventure", "entry", "scene")
PART_KEYWORDS = ("volume", "book", "part", "epoch", "period", "phase", "narrative", "division", "tome", "quarter")
_SYNONYMS = {"chap": "chapter", "ch": "chapter", "vol": "volume", "chapters": "chapter", "chaper": "chapter",
             "bk": "book", "pt": "part"}  # fmt: skip

OPENING = ("prologue", "prelude", "induction", "proem", "overture", "introduction", "introductory", "foreword",
           "preamble")  # fmt: skip
CLOSING = ("epilogue", "finale", "conclusion", "afterword", "postscript", "coda", "note", "envoi", "l'envoi")
BETWEEN = ("interlude", "intermezzo", "entr'acte")
APPARATUS = ("preface", "dedication", "dedicatory", "contents", "table of contents", "acknowledgment",
             "acknowledgments", "acknowledgements", "advertisement", "advertisements", "author's note",
             "author's preface", "editor's note", "editor's preface", "publisher's note", "preparer's note",
             "translator's preface", "translator's note", "transcriber's note", "transcriber's notes", "post scriptum",
             "list of illustrations", "illustrations", "list of characters", "dramatis personae", "characters",
             "appendix", "notes", "footnotes", "endnotes", "index", "glossary", "bibliography", "errata", "notice",
             "explanatory", "etymology", "extracts", "biographical note", "a note on the text", "about the author",
             "original preface", "inscription", "epigraph", "introductory note", "note to the reader",
             "to the reader")  # fmt: skip

_ONES = [
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_ORDINAL_ONES = [
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"),
    *("twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def _number_words() -> dict[str, int]:
    words = {word: i for i, word in enumerate(_ONES, 1)} | {word: i for i, word in enumerate(_ORDINAL_ONES, 1)}
    for tens, word in enumerate(_TENS, 2):
        words[word] = words[word[:-1] + "ieth"] = 10 * tens
        for ones in range(1, 10):
            words[f"{word}-{_ONES[ones - 1]}"] = words[f"{word}-{_ORDINAL_ONES[ones - 1]}"] = 10 * tens + ones
    words["hundred"] = words["hundredth"] = 100
    return words | {"last": -1, "final": -1}


NUMBER_WORDS = _number_words()
_TENS_PATTERN = "|".join(word[:-1] + "(?:y|ieth)" for word in _TENS)
_WORD_NUMBER = (
    rf"(?:(?:{_TENS_PATTERN})(?:[- ]+(?:{'|'.join(_ONES[:9] + _ORDINAL_ONES[:9])}))?"
    rf"|{'|'.join(sorted(_ONES + _ORDINAL_ONES, key=len, reverse=True))}|(?:one )?hundred(?:th)?|last|final)"
)
_NUMBER = rf"(?:[ivxlc]+|\d{{1,3}}(?:st|nd|rd|th)?|{_WORD_NUMBER})"
_KEYWORD = "|".join(sorted((*UNIT_KEYWORDS, *PART_KEYWORDS, *_SYNONYMS), key=len, reverse=True))
_KEY_NUMBER = re.compile(rf"(?:the )?({_KEYWORD})\b\.?[ ]*(?:no\.?[ ]*|the )?({_NUMBER})\b(.*)$", re.I)
_ORDINAL_KEY = re.compile(rf"(?:the )?({_WORD_NUMBER})[ ]+({_KEYWORD})\b(.*)$", re.I)
_BARE = re.compile(rf"(?:([IVXLC]+|[ivxlc]+)|(\d{{1,3}})|({_WORD_NUMBER}))(?:[ ]*([.:)\]—–-]+)[ ]*(.*)|[ ]*)$", re.I)
_NAMED = re.compile(r"(?:the )?(" + "|".join(re.escape(w) for w in (*OPENING, *CLOSING, *BETWEEN)) + r")\b(.*)$", re.I)
_NAMES = {**dict.fromkeys(OPENING, "prologue"), **dict.fromkeys(CLOSING, "epilogue"),
          **dict.fromkeys(BETWEEN, "interlude")}  # fmt: skip
_APPARATUS = re.compile(
    r"(?:the |an? |original )?(?:" + "|".join(re.escape(w) for w in sorted(APPARATUS, key=len, reverse=True))
    + r")\b[^a-z]{0,4}(?:(?:to|for|of|by) .*|$)", re.I)  # fmt: skip
_MARKDOWN = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t#]*$")
_DECORATION = re.compile(r"^[\s*_=~\[\](){}|•·—–-]+|[\s*_=~\[\](){}|•·—–-]+$")
_TITLE_START = re.compile(r"[\s.,:;)\]—–_*=-]+")
_SMALL_WORDS = {"a", "an", "and", "the", "of", "in", "on", "at", "to", "for", "from", "with", "by", "or", "nor", "but",
                "as", "is", "into", "upon", "over", "de", "la", "von", "du", "des", "le", "en", "et", "that", "which",
                "who", "out", "up", "it", "its"}  # fmt: skip
_ROMAN = re.compile(r"M{0,3}(?:CM|CD|D?C{0,4})(?:XC|XL|L?X{0,4})(?:IX|IV|V?I{0,4})$")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_TERMINAL = (".", ",", ";", ":")


@dataclass(frozen=True)
class HeadingLine:
    """What a line says if it is a heading.

    Attributes:
      style: the family it belongs to: a keyword (``chapter``), ``roman``/``arabic``/``word`` for a bare number,
        ``prologue``/``epilogue``/``interlude`` for a named section, ``title`` for words alone.
      number: its number; -1 for "the last", None without one.
      label: keyword and number as a name (``Chapter IV``), or the number or the words alone.
      title: what follows the label on the same line, '' if nothing does.
      marked: the line carries Markdown heading marks.
    """

    style: str
    number: int | None
    label: str
    title: str
    marked: bool


def roman_value(numeral: str) -> int | None:
    """The value of a Roman numeral in any case (additive forms like ``XIIII`` too), None if it is none."""
    numeral = numeral.upper()
    if not numeral or not _ROMAN.match(numeral):
        return None
    values = [_ROMAN_DIGITS[digit] for digit in numeral]
    return sum(-v if v < w else v for v, w in zip(values, [*values[1:], 0], strict=True))


def number_value(token: str) -> int | None:
    """The value of an Arabic, Roman or spelled-out number, cardinal or ordinal; -1 for "last"."""
    token = re.sub(r"[\s-]+", "-", token.strip().lower())
    if token[:1].isdigit():
        return int(re.match(r"\d+", token)[0])
    token = token.removeprefix("one-") if token.startswith("one-hundred") else token
    value = NUMBER_WORDS.get(token) or roman_value(token)
    if value is None and set(token) <= set("li"):
        return int("1" * len(token))  # "ll" read for 11
    return value


def undecorate(line: str) -> tuple[str, bool]:
    """A line without Markdown marks, emphasis, brackets or dashes around it; and whether it had Markdown marks."""
    line = line.strip()
    marked = False
    if line.startswith("#") and (match := _MARKDOWN.match(line)):
        line, marked = match[2], True
    line = _DECORATION.sub("", line)
    return " ".join(line.split()), marked


def parse_heading(line: str) -> HeadingLine | None:
    """Read one line as a numbered or named heading, or return None."""
    core, marked = undecorate(line)
    if not core or len(core) > 300:
        return None
    for pattern, key_group, number_group in ((_KEY_NUMBER, 1, 2), (_ORDINAL_KEY, 2, 1)):
        if match := pattern.match(core):
            heading = _keyword_heading(match[key_group], match[number_group], match[3], core, marked)
            if heading:
                return heading
    if match := _BARE.match(core):
        return _bare_heading(match, marked)
    if (match := _NAMED.match(core)) and not _APPARATUS.match(core):
        return _named_heading(match, core, marked)
    return None


def _keyword_heading(keyword: str, number: str, rest: str, core: str, marked: bool) -> HeadingLine | None:
    if not (core[0].isupper() or marked):
        return None
    value = number_value(number)
    if value is None:
        return None
    if rest and rest[0] == " " and rest.strip()[:1].islower():
        return None  # "Part one of me wanted to go"
    if rest and rest[0] == "," and len(rest.split()) > 6 and not looks_titled(rest.lstrip(", ")):
        return None
    if rest and rest[0] in "'’":
        return None  # "Book One's heroine"
    style = keyword.lower()
    style = _SYNONYMS.get(style, style)
    label = core[: len(core) - len(rest)]
    if label.isupper() or label.islower():
        label = " ".join(
            word.upper() if roman_value(word) and word.lower() not in NUMBER_WORDS else word.capitalize()
            for word in label.split()
        )
    elif roman_value(number) and not number.isdigit():
        label = label[: len(label) - len(number)] + number.upper() if label.endswith(number) else label
    return HeadingLine(style, value, label, _clean_title(rest), marked)


def _bare_heading(match: re.Match, marked: bool) -> HeadingLine | None:
    roman, arabic, word, _, title = match.groups()
    token = roman or arabic or word
    if not (token[0].isupper() or token[0].isdigit() or marked):
        return None
    value = number_value(token)
    if value is None or value < 0:
        return None
    title = _clean_title(title or "")
    if title and not (title[0].isupper() or title[0] in "“\"'‘_(" or title[0].isdigit()):
        return None
    if title and word and not title.isupper():
        return None  # "One. Two. Three." is speech
    style = "roman" if roman else "arabic" if arabic else "word"
    return HeadingLine(style, value, token, title, marked)


def _named_heading(match: re.Match, core: str, marked: bool) -> HeadingLine | None:
    name, rest = match[1], match[2]
    if not (core[0].isupper() or marked):
        return None
    if (rest and rest[0] not in ".:;,—–-( ") or len(core) > 90:
        return None
    title = _clean_title(rest)
    if (rest[:1] == " " and not (core.isupper() or marked)) or rest[:1] == "," or title[:1].islower():
        return None
    if name.lower() == "note" and title:
        return None
    return HeadingLine(_NAMES[name.lower()], None, core[: len(core) - len(rest)].capitalize(), title, marked)


def is_apparatus(line: str) -> bool:
    """Whether a line heads matter that is not the narrative: preface, contents, notes, advertisements."""
    core, _ = undecorate(line.replace("’", "'"))
    return (
        bool(core)
        and len(core) < 80
        and not line.rstrip().endswith(":")
        and _APPARATUS.match(core.rstrip(".:")) is not None
    )


def _clean_title(rest: str) -> str:
    start = _TITLE_START.match(rest)
    title = rest[start.end() :] if start else rest
    title = title.replace("_", "").replace("*", "").strip()
    return " ".join(title.removesuffix("]").split())


def looks_titled(text: str) -> bool:
    """Whether words read like a title: capitals throughout or on the words that carry meaning, no sentence end."""
    text = text.replace("_", "").strip()
    if not text or not any(c.isalpha() for c in text):
        return False
    letters = [c for c in text if c.isalpha()]
    upper = sum(c.isupper() for c in letters)
    if upper > 0.8 * len(letters):
        return True
    if text.endswith(_TERMINAL[1:]):
        return False
    words = [w for w in re.findall(r"[^\W\d_][\w'’-]*", text) if w.lower() not in _SMALL_WORDS]
    capital = sum(w[0].isupper() for w in words)
    return bool(words) and capital >= 0.7 * len(words)
