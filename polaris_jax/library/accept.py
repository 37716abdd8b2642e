"""Novel or not: one sentence of reason for every text that is something else.

The checks look at the cleaned body, cheapest first. None knows any title or author; each measures form.
"""

import re
from collections import Counter
from statistics import median

from polaris_jax.library.blocks import Block
from polaris_jax.library.language import foreign_letters, sample_languages
from polaris_jax.library.novel import NovelChapter
from polaris_jax.library.prose import is_break

_SPEAKER = re.compile(
    r"[ \t]*_?(?:[A-Z][A-Z .,'’&-]{1,40}[.:]_?(?: |—|$)|[A-Z][A-Z .'’&-]{1,40} ?[\[(]|[A-Z][A-Z .'’-]{1,30}$|"
    r"_?[A-Z][a-z]+(?: [A-Z][a-z]+)?[.:]_?[ \t]+[\[(_“\"A-Z])"
)
_STAGE = re.compile(
    r"[ \t]*(?:_?\[?(?:enter|exit|exeunt|re-enter|curtain)\b|act [ivx\d]+\b|(?:act|scene) (?:the )?\w+)", re.I
)
_CAST = re.compile(
    r"\s*(?:dramatis person|persons (?:of|in) the (?:play|drama)|cast of characters|characters in the play)", re.I
)
_COLLECTION = re.compile(
    r"\b(?:short stories|(?:and|&) other (?:stories|tales|sketches|pieces)|collected (?:stories|tales)|"
    r"(?:complete|selected|best) (?:stories|tales|short)|anthology|omnibus|collected works|complete works|"
    r"(?:complete|collected|selected) poems|poems of|poems by|tales? and stories|stories (?:by|from|of)|"
    r"twenty.* tales|sketches (?:by|from|of)|fairy tales|essays)\b|^(?:\w+ )?(?:poems|stories|tales|essays|sonnets)\b",
    re.I,
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}")
_NOT_NAMES = frozenset(
    {"Mr", "Mrs", "Miss", "Sir", "Lady", "Lord", "Captain", "God", "English", "England", "London", "American"}
    | {"French", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Christmas", "Well"}
)
_MAX_FOREIGN_LETTERS = 0.02
_MAX_CAPS_LINES = 0.15
_MIN_STORIES = 4
_MIN_PLAY_SHARE = 0.4
_MIN_VERSE_SHARE = 0.45
_SENTENCE_CHARS = 60
_SPEAKER_CHARS = 46


def language_reason(text: str) -> tuple[str, str]:
    """(language, reason): reason is '' for English."""
    if foreign_letters(text) > _MAX_FOREIGN_LETTERS:
        return "unknown", "More than 2 % of its letters are outside the Latin alphabet, so it is not an English novel."
    found = Counter(sample_languages(text))
    language, hits = found.most_common(1)[0]
    if language != "English":
        what = "in no language known here" if language == "unknown" else f"in {language}"
        return language, f"The text is {what}, not in English."
    if hits < sum(found.values()) - 1 or (hits < sum(found.values()) and sum(found.values()) < 4):
        other = next(name for name in found if name != "English")
        return "mixed", f"Parts of the text are not in English (one sample reads as {other})."
    return "English", ""


def form_reason(blocks: list[Block]) -> str:
    """Why a body of blocks is a play or poetry, '' if it is prose."""
    lines = paragraphs = speakers = stage = caps = chars = verse_chars = 0
    cast = False
    for block in blocks:
        first = block.lines[0]
        if len(first) < 60 and is_break(block):
            continue
        paragraphs += 1
        lines += len(block.lines)
        lead = first.lstrip(" \t_[(*")[:1]
        if lead.isupper():
            opening = first[:_SPEAKER_CHARS]
            if "." in opening or ":" in opening or "(" in opening or "[" in opening or opening.isupper():
                speakers += _SPEAKER.match(first) is not None
            if len(first) < 120:
                stage += _STAGE.match(first) is not None
                cast = cast or _CAST.match(first) is not None
            caps += sum(map(str.isupper, block.lines))
        size = sum(map(len, block.lines))
        if len(block.lines) > 1:
            chars += size
            verse_chars += size if _is_verse(block.lines) else 0
        elif size > _SENTENCE_CHARS:
            chars += size
    if not paragraphs:
        return "There is no text."
    if speakers > _MIN_PLAY_SHARE * paragraphs or ((cast or stage >= 6) and speakers > 0.25 * paragraphs):
        return "It is a play: most paragraphs open with a speaker's name."
    if verse_chars > _MIN_VERSE_SHARE * chars:
        return "It is poetry: most of it stands in verse lines."
    if caps > _MAX_CAPS_LINES * lines:
        return "More than 15 % of its lines are in capitals, so it is no running prose."
    return ""


def collection_reason(title: str, structure: str, chapters: tuple[NovelChapter, ...]) -> str:
    """Why a book is a collection of separate pieces, '' if it is one work.

    The evidence is that no people carry over from piece to piece; how little suffices depends on whether the pieces
    are unnumbered and whether the title announces a collection.
    """
    units = [chapter for chapter in chapters if chapter.kind in ("chapter", "narrative")]
    named = structure == "titled chapters"
    says_so = _COLLECTION.search(title) is not None
    if len(units) < _MIN_STORIES or not (named or says_so):
        return ""
    limit = 0.4 if named != says_so else 0.7
    if name_continuity([unit.text for unit in units]) < limit:
        return "It is a collection of separate pieces: people do not carry over from one titled piece to the next."
    return ""


def name_continuity(texts: list[str]) -> float:
    """Median share, over units, of frequent names (weighted by use) that other units use often too."""
    counts = []
    for text in texts:
        names = Counter(_NAME.findall(text))
        counts.append({name: n for name, n in names.items() if n >= 3 and name not in _NOT_NAMES})
    spread = Counter(name for names in counts for name in names)
    shares = [
        sum(n for name, n in names.items() if spread[name] > 1) / sum(names.values()) for names in counts if names
    ]
    return median(shares) if shares else 1.0


def length_reason(words: int, min_words: int, max_words: int) -> str:
    """Why a book's length rules it out, '' if it fits."""
    if words < min_words:
        return f"It is too short: {words:,} words, fewer than the minimum of {min_words:,}."
    if words > max_words:
        return f"It is too long: {words:,} words, more than the maximum of {max_words:,}."
    return ""


def _is_verse(lines: list[str]) -> bool:
    """Whether lines begin where a verse begins: nearly all with a capital, which wrapped prose does by chance only."""
    if len(lines) > 2 and lines[1][:1].islower() and lines[2][:1].islower():
        return False
    heads = [line.lstrip(" \t\"'“‘([_-—")[:1] for line in lines]
    capital = sum(map(str.isupper, heads))
    if len(lines) == 2:
        return capital == 2 and max(map(len, lines)) < 60
    return capital >= 0.7 * len(lines)
