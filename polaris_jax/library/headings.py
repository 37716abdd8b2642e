"""The grammar of heading lines: the single lines that can head a part, a chapter or a named section, and their meaning.

This module parses one line at a time. ``outline`` looks at the whole book to decide whether such a line is a heading.
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
             "explanatory", "etymology", "extracts", "biographical note", "biographical notice",
             "biographical sketch", "biographical introduction", "critical introduction", "editor's introduction",
             "memoir of the author", "life of the author", "note by the editor", "publisher's preface",
             "by the same author", "works by the same author", "books by the same author", "a note on the text",
             "about the author", "original preface", "inscription", "epigraph", "introductory note",
             "note to the reader", "to the reader")  # fmt: skip

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
_KEY_NUMBER = re.compile(rf"(?:the )?({_KEYWORD})(?:\b\.?[ #-]*|(?=\d))(?:no\.?[ ]*|the )?({_NUMBER})\b(.*)$", re.I)
_ORDINAL_KEY = re.compile(rf"(?:the )?({_WORD_NUMBER})[ ]+({_KEYWORD})\b(.*)$", re.I)
_OTHER_KEY = re.compile(rf"(?:the )?([^\W\d_]{{2,12}})\b[. ]{{0,2}}(?:#|no\.? ?|the )?({_NUMBER})$", re.I)
_OTHER_ORDINAL = re.compile(rf"(?:the )?({_WORD_NUMBER}|\d{{1,3}}(?:st|nd|rd|th)) ([^\W\d_]{{2,12}})$", re.I)
_SPACED_TITLE = re.compile(r"([IVXLC]+|\d{1,3}) ([^\W\d_\"“‘'].*)$")
_SUMMARY = re.compile(r"[ ,:;.—–-]+(?:in which|wherein|containing|how|showing|being|relates|describes|treats)\b", re.I)
_SPLIT_NUMERAL = re.compile(rf"((?:{_KEYWORD})\.? |)([IVXLC](?: ?[IVXLC])+)([.:]?)$", re.I)
_CLOSED_UP = re.compile(rf"({_KEYWORD})([IVXLC]+|\d{{1,3}})([.:]?)$", re.I)
_NO_SERIES = frozenset({"page", "pages", "plate", "figure", "fig", "illustration", "map", "table", "note", "footnote",
                        "act", "verse", "psalm", "folio", "sheet", "number", "line", "article"})  # fmt: skip
_BARE = re.compile(rf"(?:([IVXLC]+|[ivxlc]+)|(\d{{1,3}})|({_WORD_NUMBER}))(?:[ ]*([.:)\]—–-]+)[ ]*(.*)|[ ]*)$", re.I)
_NAMED = re.compile(r"(?:the )?(" + "|".join(re.escape(w) for w in (*OPENING, *CLOSING, *BETWEEN)) + r")\b(.*)$", re.I)
_NAMES = {
    **dict.fromkeys(OPENING, "prologue"),
    **dict.fromkeys(CLOSING, "epilogue"),
    **dict.fromkeys(BETWEEN, "interlude"),
}
_APPARATUS = re.compile(
    r"(?:the |an? |original )?(?:"
    + "|".join(re.escape(w) for w in sorted(APPARATUS, key=len, reverse=True))
    + r")\b[^a-z]{0,4}(?:(?:to|for|of|by) .*|$)",
    re.I,
)
_MARKDOWN = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t#]*$")
_DECORATION = re.compile(r"^[\s*_=~<>§\[\](){}|•·—–-]+|[\s*_=~<>\[\](){}|•·—–-]+$")
_TAGS = re.compile(r"</?(?:h[1-6]|b|i|strong|em|center|p|div)\b[^<>]*>", re.I)
_HEADING_TAG = re.compile(r"\s*<h[1-6]\b", re.I)
_LETTERS_APART = re.compile(r"(?:[A-Z0-9] )*[A-Z0-9]\W*$")
_TITLE_START = re.compile(r"[\s.,:;)\]—–_*=-]+")
_MAX_WEAK = 70  # characters
_SMALL_WORDS = {"a", "an", "and", "the", "of", "in", "on", "at", "to", "for", "from", "with", "by", "or", "nor", "but",
                "as", "is", "into", "upon", "over", "de", "la", "von", "du", "des", "le", "en", "et", "that", "which",
                "who", "out", "up", "it", "its"}  # fmt: skip
_ROMAN = re.compile(r"M{0,3}(?:CM|CD|D?C{0,4})(?:XC|XL|L?X{0,4})(?:IX|IV|V?I{0,4})$")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_TERMINAL = (".", ",", ";", ":")


@dataclass(frozen=True)
class HeadingLine:
    """A parsed heading line.

    Attributes:
      style: the kind of heading: a keyword (``chapter``), ``roman``/``arabic``/``word`` for a bare number,
        ``prologue``/``epilogue``/``interlude`` for a named section, ``title`` for words alone; for a weak heading also
        ``small roman``, or the word before its number.
      number: its number; -1 for "the last", None without one.
      label: keyword and number as a name (``Chapter IV``), or only the number or the words.
      title: the rest of the line after the label, or ''.
      marked: the line has Markdown heading marks, or a heading tag.
      weak: such a line counts only in a series: a number and a title with a space between, a numeral in small letters,
        an unknown word with a number, or a keyword heading that continues as a sentence.
    """

    style: str
    number: int | None
    label: str
    title: str
    marked: bool
    weak: bool = False


def roman_value(numeral: str) -> int | None:
    """The value of a Roman numeral in any case (additive forms like ``XIIII`` too); None for any other text."""
    numeral = numeral.upper()
    if not numeral or not _ROMAN.match(numeral):
        return None
    values = [_ROMAN_DIGITS[digit] for digit in numeral]
    return sum(-v if v < w else v for v, w in zip(values, [*values[1:], 0], strict=True))


def number_value(token: str) -> int | None:
    """The value of an Arabic, Roman or spelled-out number, cardinal or ordinal; -1 for "last"."""
    token = re.sub(r"[\s-]+", "-", token.strip().lower())
    if digits := re.match(r"\d+", token):
        return int(digits[0])
    token = token.removeprefix("one-") if token.startswith("one-hundred") else token
    value = NUMBER_WORDS.get(token) or roman_value(token)
    if value is None and set(token) <= set("li"):
        return int("1" * len(token))  # "ll" is a misread 11
    return value


def undecorate(line: str) -> tuple[str, bool]:
    """A line without Markdown marks, emphasis, brackets or dashes around it; and whether it had Markdown marks."""
    line = line.strip()
    marked = False
    if line.startswith("#") and (match := _MARKDOWN.match(line)):
        line, marked = match[2], True
    elif "<" in line:
        line, marked = _TAGS.sub("", line), _HEADING_TAG.match(line) is not None
    line = _DECORATION.sub("", line)
    return _closed_up(line) if _apart(line) else " ".join(line.split()), marked


def _apart(line: str) -> bool:
    """Whether a line has a space after every letter."""
    if line[1:2] != " " or len(line) < 3:
        return False
    words = re.split(r" {2,}|\t+", line)
    return any(len(w) > 2 for w in words) and all(
        _LETTERS_APART.match(w) or w.isdigit() or roman_value(w) for w in words
    )


def _closed_up(line: str) -> str:
    """A letter-spaced line ("C H A P T E R  I V") as words; two or more spaces separate the words."""
    words = " ".join(word.replace(" ", "") for word in re.split(r"\s{2,}|\t", line))
    return _CLOSED_UP.sub(r"\1 \2\3", words)


def parse_heading(line: str, weak: bool = False) -> HeadingLine | None:
    """Parses one line as a numbered or named heading; None if it is not one.

    Args:
      line: a line of a book.
      weak: also accept lines that are headings only in a series.
    """
    heading = _parse(line, weak)
    return heading if heading is None or weak or not heading.weak else None


def _parse(line: str, weak: bool) -> HeadingLine | None:
    core, marked = undecorate(line)
    if not core or len(core) > 300:
        return None
    if len(core) < 40 and (match := _SPLIT_NUMERAL.match(core)) and roman_value(match[2].replace(" ", "")):
        core = match[1] + match[2].replace(" ", "") + match[3]  # "CHAPTER XX I"
    for pattern, key_group, number_group in ((_KEY_NUMBER, 1, 2), (_ORDINAL_KEY, 2, 1)):
        if match := pattern.match(core):
            heading = _keyword_heading(match[key_group], match[number_group], match[3], core, marked)
            if heading:
                return heading
    if match := _BARE.match(core):
        return _bare_heading(match, marked)
    if (match := _NAMED.match(core)) and not _APPARATUS.match(core):
        return _named_heading(match, core, marked)
    return _weak_heading(core, marked) if weak else None


def _weak_heading(core: str, marked: bool) -> HeadingLine | None:
    """A line that is a chapter heading only in some books: a number and a title, or any word and a number."""
    if len(core) > _MAX_WEAK or not (core[0].isupper() or core[0].isdigit()):
        return None
    if match := _SPACED_TITLE.match(core):
        value = number_value(match[1])
        if value and match[2][0].isupper() and looks_titled(match[2]):
            style = "arabic" if match[1].isdigit() else "roman"
            return HeadingLine(style, value, match[1], _clean_title(match[2]), marked, True)
        return None
    for pattern, key_group, number_group in ((_OTHER_KEY, 1, 2), (_OTHER_ORDINAL, 2, 1)):
        match = pattern.match(core.rstrip(".:"))
        if match and match[key_group][0].isupper() and match[key_group].lower() not in _NO_SERIES:
            value = number_value(match[number_group])
            if value and value > 0:
                return HeadingLine(match[key_group].lower(), value, match[0], "", marked, True)
    return None


def _keyword_heading(keyword: str, number: str, rest: str, core: str, marked: bool) -> HeadingLine | None:
    if not (core[0].isupper() or marked):
        return None
    value = number_value(number)
    if value is None:
        return None
    summary = _SUMMARY.match(rest) is not None
    if rest and rest[0] == " " and rest.strip()[:1].islower() and not summary:
        return None  # "Part one of me wanted to go"
    if rest and rest[0] == "," and len(rest.split()) > 6 and not summary and not looks_titled(rest.lstrip(", ")):
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
    weak = summary and (rest[0] == "," or rest.strip()[:1].islower())
    return HeadingLine(style, value, label, _clean_title(rest), marked, weak)


def _bare_heading(match: re.Match, marked: bool) -> HeadingLine | None:
    roman, arabic, word, _, title = match.groups()
    token = roman or arabic or word
    small = bool(roman) and roman.islower() and not marked
    if not (token[0].isupper() or token[0].isdigit() or marked or (small and not title)):
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
    return HeadingLine("small roman" if small else style, value, token, title, marked, small)


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
    """Whether a line heads text outside the narrative: preface, contents, notes, advertisements."""
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
    """Whether words look like a title: all capitals, or capitals on content words, and no sentence end."""
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
