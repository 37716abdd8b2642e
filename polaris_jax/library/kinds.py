"""Prose books that do not tell one story: lists and tables, essays and treatises, collections of stories.

Each check measures something that every novel of the development sets has and the other kind lacks. A book between the
two is read with a warning, not rejected.
"""

import re
from collections import Counter
from itertools import pairwise
from statistics import median

from polaris_jax.library.blocks import Block
from polaris_jax.library.novel import NovelChapter
from polaris_jax.library.paragraphs import had_room

_SPEECH = (" said", " says", " asked", " cried", " replied", " answered", " exclaimed", " told ")
_PAST = (" was ", " were ", " had ", " did ")
_PRESENT = (" is ", " are ", " has ", " have ", " does ")
_YEAR = re.compile(r"\b1[0-9]{3}\b")
_NUMBER = re.compile(r"\b\d")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}")
_NOT_NAMES = frozenset(
    {"Mr", "Mrs", "Miss", "Sir", "Lady", "Lord", "Captain", "God", "English", "England", "London", "American"}
    | {"French", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Christmas", "Well"}
)
_MAX_NUMBERS = 0.03  # share of words; novels stay below 0.01
_SHORT_BLOCK = 80
_FEW_SPEECH = 0.0004  # verbs of saying per word; novels have 0.002, a biography 0.0005
_LITTLE_SPEECH = 0.0012
_FEW_PAST = 0.8  # ratio of past to present forms; novels have 0.9 to 5
_MANY_YEARS = 0.0014  # years per word; novels of the development sets have fewer
_OPENING = 5_000  # characters read from each chapter
_LITTLE_SHARED = 0.3
_OWN_NAMES = 0.5  # share of a piece's names that occur in no other; novels of many chapters stay below 0.45
_MIN_PIECES = 6
_MIN_JUDGED_WORDS = 10_000
_SAMPLE_BLOCKS = 600
_MIN_SET_LINES = 100
_MIN_STANZAS = 30
_MIN_ROOM = 0.35
_FULL_LAST = 0.85


def list_reason(blocks: list[Block]) -> str:
    """Why a book is a list, an index, a catalogue or verse; '' if it is running prose."""
    sizes = sorted(sum(map(len, block.lines)) for block in blocks)
    half, seen = sum(sizes) / 2, 0
    for size in sizes:
        seen += size
        if seen >= half:
            if size < _SHORT_BLOCK:
                return "It is no running prose: most of it is in lines of a few words (verse, a list or a catalogue)."
            break
    step = max(1, len(blocks) // _SAMPLE_BLOCKS)
    sample = " ".join(line for block in blocks[::step] for line in block.lines)
    words, numbers = sample.count(" ") + 1, len(_NUMBER.findall(sample))
    if numbers > _MAX_NUMBERS * words:
        return f"It is an index, a catalogue or a table: {numbers / words:.0%} of its words are numbers."
    return ""


def is_set_in_lines(blocks: list[Block]) -> bool:
    """Whether the author, not the page width, ended the lines: most had room for the next word, or last lines are full.

    A paragraph's last line is half full on average; a stanza's is as full as its other lines.
    """
    step = max(1, len(blocks) // _SAMPLE_BLOCKS)
    sample = [block.lines for block in blocks[::step] if len(block.lines) > 1]
    lengths = sorted(len(line) for lines in sample for line in lines)
    total = sum(len(lines) - 1 for lines in sample)
    if total < _MIN_SET_LINES or sum(lengths) < 0.5 * sum(len(line) for b in blocks[::step] for line in b.lines):
        return False
    width = lengths[int(0.6 * (len(lengths) - 1))]  # most prose lines are just below it; a few may be longer
    room = sum(had_room(a, b, width) for lines in sample for a, b in pairwise(lines))
    last = sum(len(lines[-1]) for lines in sample) / len(sample)
    inner = sum(len(line) for lines in sample for line in lines[:-1]) / total
    return room > _MIN_ROOM * total or (len(sample) >= _MIN_STANZAS and last > _FULL_LAST * inner)


def essay_reason(chapters: tuple[NovelChapter, ...]) -> tuple[str, str]:
    """(reason, warning) for a text almost without speech: essays, history, science; ('', '') for a story."""
    words = sum(chapter.text.count(" ") for chapter in chapters)
    speech = sum(chapter.text.count(verb) for chapter in chapters for verb in _SPEECH)
    if speech < _FEW_SPEECH * words and words > _MIN_JUDGED_WORDS:
        return "It tells no story: next to nobody speaks (essays, a treatise or a history).", ""
    if speech < _LITTLE_SPEECH * words:
        return "", "Hardly anybody speaks in it: it may be a biography, a history or essays rather than a novel."
    return "", _told_in(chapters, words)


def _told_in(chapters: tuple[NovelChapter, ...], words: int) -> str:
    """A warning for prose unlike a story: in the present tense, or with many years in it."""
    if words <= _MIN_JUDGED_WORDS:
        return ""
    sample = [chapter.text[:_OPENING] for chapter in chapters]
    past, present = (sum(text.count(verb) for text in sample for verb in verbs) for verbs in (_PAST, _PRESENT))
    if past < _FEW_PAST * present:
        return "It speaks of what is more than of what was: it may be travel, folklore, speeches or a treatise."
    years = sum(len(_YEAR.findall(text)) for text in sample)
    seen = sum(text.count(" ") for text in sample)
    if years > _MANY_YEARS * seen:
        often = f"a year in every {seen // years:,} words"
        return f"It names {often}: it may be a history, a biography or travel rather than a novel."
    return ""


def pieces_warning(names: list[dict[str, int]]) -> str:
    """A warning for a book whose units mostly have their own people: it may be a collection of stories."""
    if len(names) < _MIN_PIECES:
        return ""
    share, shared = own_names(names), name_continuity(names)
    if shared < _LITTLE_SHARED:
        return f"Its chapters share {shared:.0%} of their names: it may be a collection of stories."
    if share < _OWN_NAMES:
        return ""
    return f"{share:.0%} of the names of a chapter occur in no other: it may be a collection of stories."


def own_names(names: list[dict[str, int]]) -> float:
    """Median share, over units, of frequent names that occur frequently in no other unit."""
    spread = Counter(name for found in names for name in found)
    shares = [sum(spread[name] == 1 for name in found) / len(found) for found in names if len(found) >= 3]
    return median(shares) if shares else 0.0


def name_continuity(names: list[dict[str, int]]) -> float:
    """Median share, over units, of frequent names (weighted by use) that other units use often too."""
    spread = Counter(name for found in names for name in found)
    shares = [sum(n for name, n in found.items() if spread[name] > 1) / sum(found.values()) for found in names if found]
    return median(shares) if shares else 1.0


def frequent_names(texts: list[str]) -> list[dict[str, int]]:
    """Names that each unit uses three times or more, with their counts."""
    counts = [Counter(_NAME.findall(text)) for text in texts]
    return [{name: n for name, n in c.items() if n >= 3 and name not in _NOT_NAMES} for c in counts]
