"""Decides whether a text is a novel; if not, one sentence says why.

The checks look at the cleaned body, cheapest first. They measure form; none knows a title or an author.
"""

import re
from collections import Counter

from polaris_jax.library.blocks import Block
from polaris_jax.library.kinds import (
    frequent_names,
    is_set_in_lines,
    list_reason,
    name_continuity,
    own_names,
    pieces_warning,
)
from polaris_jax.library.language import foreign_letters, sample_languages
from polaris_jax.library.novel import NovelChapter
from polaris_jax.library.plays import play_reason
from polaris_jax.library.prose import is_break

_COLLECTION = re.compile(
    r"\b(?:short stories|(?:and|&) other (?:stories|tales|sketches|pieces)|collected (?:stories|tales)|"
    r"(?:complete|selected|best) (?:stories|tales|short)|anthology|omnibus|collected works|complete works|"
    r"(?:complete|collected|selected) poems|poems of|poems by|tales? and stories|stories (?:by|from|of)|"
    r"twenty.* tales|sketches (?:by|from|of)|fairy tales|essays)\b|^(?:\w+ )?(?:poems|stories|tales|essays|sonnets)\b",
    re.I,
)
COLLECTION = "It is a collection of separate pieces"  # the reason for every collection begins with this
_MAX_FOREIGN_LETTERS = 0.02
_MAX_CAPS_LINES = 0.15
_MIN_STORIES = 4
_MAX_PIECES = 40
_MIN_APART = 6
_OWN_NAMES = 0.55  # share of a titled piece's names that no other has; titled novels of the development sets: below 0.4
_MIN_VERSE_SHARE = 0.45
_SENTENCE_CHARS = 60


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


def form_reason(blocks: list[Block]) -> tuple[str, str]:
    """(reason, warning): why a body of blocks is, or may be, a play, poetry or a list; ('', '') if it is prose."""
    lines = caps = chars = verse_chars = 0
    for block in blocks:
        first = block.lines[0]
        if len(first) < 60 and is_break(block):
            continue
        lines += len(block.lines)
        if first.lstrip(" \t_[(*")[:1].isupper():
            caps += sum(map(str.isupper, block.lines))
        size = sum(map(len, block.lines))
        if len(block.lines) > 1:
            chars += size
            verse_chars += size if _is_verse(block.lines) else 0
        elif size > _SENTENCE_CHARS:
            chars += size
    if not lines:
        return "There is no text.", ""
    play, doubt = play_reason(blocks)
    if play:
        return play, ""
    if verse_chars > _MIN_VERSE_SHARE * chars:
        return "It is poetry: most of it stands in verse lines.", ""
    if is_set_in_lines(blocks):
        return "It is poetry or a list: most of its lines end on purpose.", ""
    if caps > _MAX_CAPS_LINES * lines:
        return "More than 15 % of its lines are in capitals, so it is no running prose.", ""
    return list_reason(blocks), doubt


def collection_reason(title: str, structure: str, chapters: tuple[NovelChapter, ...]) -> tuple[str, str]:
    """(reason, warning) of a collection of separate pieces; ('', '') for one work.

    The evidence is that no people carry over from piece to piece. Less evidence is needed if the pieces are unnumbered
    or the title announces a collection. Numbered pieces with people of their own may be the episodes of one novel, so
    they only give a warning.
    """
    units = [chapter for chapter in chapters if chapter.kind in ("chapter", "narrative")]
    named = structure == "titled chapters"
    says_so = _COLLECTION.search(title) is not None
    if len(units) < _MIN_STORIES or (len(units) > _MAX_PIECES and not (named or says_so)):
        return "", ""
    names = frequent_names([unit.text for unit in units])
    continuity = name_continuity(names)
    limit = 0.4 if named != says_so else 0.7
    apart = named and len(units) >= _MIN_APART and own_names(names) >= _OWN_NAMES
    if apart or ((named or says_so) and continuity < limit):
        return f"{COLLECTION}: people do not carry over from one titled piece to the next.", ""
    return "", pieces_warning(names)


def length_reason(words: int, min_words: int, max_words: int) -> str:
    """Why the book is too short or too long; '' if its length fits."""
    if words < min_words:
        return f"It is too short: {words:,} words, fewer than the minimum of {min_words:,}."
    if words > max_words:
        return f"It is too long: {words:,} words, more than the maximum of {max_words:,}."
    return ""


def _is_verse(lines: list[str]) -> bool:
    """Whether lines are verse: nearly all begin with a capital, which in wrapped prose happens only by chance."""
    if len(lines) > 2 and lines[1][:1].islower() and lines[2][:1].islower():
        return False
    heads = [line.lstrip(" \t\"'“‘([_-—")[:1] for line in lines]
    capital = sum(map(str.isupper, heads))
    if len(lines) == 2:
        return capital == 2 and max(map(len, lines)) < 60
    return capital >= 0.7 * len(lines)
