"""Titles and names of authors, cleaned to the form that a catalogue would give."""

import re
from dataclasses import dataclass

from polaris_jax.library.headings import parse_heading

_GUTENBERG = re.compile(
    r"^\W*(?:(?:this is )?the )?project gutenberg(?:['’]?s)?(?:[ ,]+(?:e-?(?:text|book)s?|edition)\b)?[ ,:]*"
    r"(?:of\b)?[ :,]*",
    re.I,
)
_NUMBER = re.compile(
    r"\s*[\[(]?(?:e-?(?:text|book)|etext|pg)? ?#\s?\d+[^\[\]]*[\])]?\s*$|\s*#\d+ in our series.*$", re.I
)
_BRACKETS = re.compile(r"\s*[\[(][^\[\]()]*[\])]")
_YEARS = re.compile(r"[,\s]*(?:(?:b|d|born|died|c|ca|circa)\.?\s*)?\d{3,4}\??(?:\s*[-–—]\s*(?:\d{3,4}\??)?)?\s*$", re.I)
_BY = re.compile(r"^\W*(?:(?:written|narrated|told)\s+)?by\b[\s:]*", re.I)
_LABEL = re.compile(r"^\W*(?:title|author|translator|edition)\s*:\s*", re.I)
_MORE = re.compile(
    r"[\s,;.(]*\b(?:(?:the )?author(?:ess)? of|translated|illustrated|edited|with (?:an?|the|illustrations)|and other|"
    r"copyright|etc\b|published|in our series)\b.*$",
    re.I,
)
_HEADING = re.compile(
    r"\s+(?=(?:chapter|book|part|volume|vol|letter|canto|stave|prologue|preface|introduction|contents)\b)", re.I
)
_MAX_AUTHOR = 100


@dataclass(frozen=True)
class Credits:
    """The title and the people of a book; '' where unknown."""

    title: str = ""
    author: str = ""
    translator: str = ""
    edition: str = ""


def clean_title(text: str) -> str:
    """A title without the words of its online publisher, without type marks and without a final full stop."""
    text = " ".join(re.sub(r"[*=]+|_+(?!\w)|(?<!\w)_+|^\W*#+ ", " ", text).split())
    text = _LABEL.sub("", text)
    stripped = _GUTENBERG.sub("", text)
    if stripped != text:
        stripped = re.split(r",?\s+by\s+(?=[A-Z])", stripped, maxsplit=1)[0]
    text = _NUMBER.sub("", stripped)
    text = text.strip(' \t,;:*_-–—"“”')
    return text[:-1] if text.endswith(".") and not text.endswith(("...", "etc.", "&c.")) else text


def clean_author(text: str) -> str:
    """A person's name without ``by``, years, a heading from the line below, or remarks about other books."""
    text = " ".join(re.sub(r"[*#=]+(?!\d)|_+(?!\w)|(?<!\w)_+", " ", text).split())
    text = _GUTENBERG.sub("", _BY.sub("", _LABEL.sub("", text)))
    for cut in _HEADING.finditer(text):
        if parse_heading(text[cut.end() :]) is not None or text[cut.end() :].isupper():
            text = text[: cut.start()]
            break
    text = _BRACKETS.sub("", _NUMBER.sub("", text))
    text = _MORE.sub("", text)
    text = re.sub(r"\s*[\[(][^\])]*$", "", text)  # a bracket that the line cuts off
    text = _YEARS.sub("", text).strip(" \t,;:*_-–—")
    if text.endswith(".") and not re.search(r"(?:\b[A-Z]|\b(?:Jr|Sr|Esq|D\.?D|M\.?D|M\.?A|etc))\.$", text):
        text = text[:-1]
    return "" if len(text) > _MAX_AUTHOR or not any(map(str.isalpha, text)) else text


def merge(*sources: Credits) -> Credits:
    """For each field, the first source that fills it, cleaned."""

    def first(name: str) -> str:
        clean = clean_title if name == "title" else str.strip if name == "edition" else clean_author
        return next(filter(None, (clean(getattr(source, name)) for source in sources)), "")

    return Credits(first("title"), first("author"), first("translator"), first("edition"))
