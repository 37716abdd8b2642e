"""Splits prose into paragraphs and sentences, and finds the words inside quotation marks."""

import re
from dataclasses import dataclass
from functools import lru_cache

from polaris_jax.scaffold.analysis.lexicons import word_set
from polaris_jax.scaffold.analysis.single_quotes import count_single_quotes, single_quoted_spans

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_BOUNDARY = re.compile(r"[.!?…。！？]+[\"”’)\]»]*\s+")
_ABBREVIATIONS = word_set("mr mrs dr st rev hon esq capt col lieut lt sergt prof messrs jr sr vol no etc viz mme mlle")
_QUOTES = {
    "curly": re.compile(r"“[^”]*(?:”|$)"),
    "straight": re.compile(r'"[^"]*(?:"|$)'),
    "guillemets": re.compile(r"«[^»]*(?:»|$)"),
}


@dataclass(frozen=True)
class Sentence:
    """One sentence; ``quoted`` is the share (0-1) of its words that are spoken."""

    text: str
    paragraph: int
    quoted: float


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """The words of a text as written, without punctuation; apostrophes inside a word stay."""
    return tuple(WORD.findall(text))


def quote_style(text: str) -> str:
    """The most frequent quotation mark of a book: curly, straight, guillemets, or single (of any form)."""
    counts = {
        "curly": text.count("“"),
        "straight": text.count('"') // 2,
        "guillemets": text.count("«"),
        "single": count_single_quotes(text),
    }
    return max(counts, key=lambda style: (counts[style], style == "curly"))


def quoted_spans(paragraph: str, style: str) -> list[tuple[int, int]]:
    """Character ranges inside quotation marks; an open quotation ends with its paragraph."""
    if style == "single":
        return single_quoted_spans(paragraph)
    return [match.span() for match in _QUOTES[style].finditer(paragraph)]


def narration(text: str, style: str) -> str:
    """The text with its spoken words blanked out, paragraph by paragraph."""
    told: list[str] = []
    for paragraph in text.split("\n\n"):
        end = 0
        for start, stop in quoted_spans(paragraph, style):
            told += [paragraph[end:start], " "]
            end = stop
        told += [paragraph[end:], "\n\n"]
    return "".join(told[:-1])


def sentence_spans(paragraph: str) -> list[tuple[int, int]]:
    """Character ranges of the sentences, each with the white space after it; together they cover the paragraph."""
    spans, start = [], 0
    for match in _BOUNDARY.finditer(paragraph):
        last = WORD.findall(paragraph[max(start, match.start() - 20) : match.start()])
        before = last[-1].lower() if last else ""
        if paragraph[match.end() :][:1].islower():
            continue
        if match.group().startswith(". ") and (
            before in _ABBREVIATIONS or (len(before) == 1 and before.isalpha() and before != "i")
        ):
            continue
        spans.append((start, match.end()))
        start = match.end()
    if start < len(paragraph):
        spans.append((start, len(paragraph)))
    return spans


@lru_cache(maxsize=4096)
def sentences(text: str, style: str) -> tuple[Sentence, ...]:
    """All sentences of ``text`` in order."""
    found = []
    for index, paragraph in enumerate(p for p in re.split(r"\n\s*\n", text) if p.strip()):
        spoken = quoted_spans(paragraph, style)
        for start, end in sentence_spans(paragraph):
            total = len(WORD.findall(paragraph, start, end))
            inside = [(max(a, start), min(b, end)) for a, b in spoken if a < end and b > start]
            quoted = sum(len(WORD.findall(paragraph, a, b)) for a, b in inside)
            if total:
                found.append(Sentence(" ".join(paragraph[start:end].split()), index, min(1.0, quoted / total)))
    return tuple(found)


@lru_cache(maxsize=4096)
def dialogue_share(text: str, style: str) -> float:
    """Share (0-1) of words inside quotation marks."""
    total = spoken = 0
    for paragraph in text.split("\n\n"):
        total += len(words(paragraph))
        spoken += sum(len(words(paragraph[a:b])) for a, b in quoted_spans(paragraph, style))
    return spoken / total if total else 0.0
