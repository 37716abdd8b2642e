"""Detects plays. All typesettings share one feature: a few names open speech after speech.

The name may be in capitals, small capitals or italics, with a full stop, a colon or a dash, on a line or in a paragraph
of its own, or inside the paragraph. Stage directions in brackets may follow it.
"""

import re
from collections import Counter

from polaris_jax.library.blocks import Block
from polaris_jax.library.headings import parse_heading
from polaris_jax.library.prose import is_break

_NAME = r"[A-Z][A-Za-z'’-]*\.?(?: (?:of |the |and |& )?(?:[A-Z][A-Za-z'’-]*\.?|\d)){0,3}"
_ASIDE = r"(?:[ ,]*_?[\[(][^\])]{0,80}[\])]_?)?"
_OPENING = re.compile(rf"[ \t_*]*({_NAME})[_*]*{_ASIDE}[_*]*(?:[.:][_*]*(?=[ \t—_\[(]|$)|[.:]?[_*]*—)[_*]*")
_DIRECTED = re.compile(r"[ \t_*]*([A-Z][A-Z.'’-]+(?: [A-Z][A-Z.'’-]+){0,3})[_*]* ?_?[\[(]")
_ALONE = re.compile(rf"[ \t_*]*({_NAME})[_*]*{_ASIDE}[.:]?[_*]*[ \t]*$")
_INSIDE = re.compile(r"(?<=[.!?\"”’)\]_—] )_?([A-Z][A-Z'’-]+(?: [A-Z][A-Z'’-]+)?)_?[.:](?= )")
_STAGE = re.compile(
    r"[ \t]*(?:_?[\[(]?_?(?:enter|exit|exeunt|re-enter|curtain)\b|act [ivx\d]+\b|(?:act|scene) (?:the )?\w+)", re.I
)
_CAST = re.compile(
    r"\s*(?:dramatis person|persons (?:of|in) the (?:play|drama)|cast of characters|characters in the play)", re.I
)
_NO_NAMES = frozenset(
    {
        "yes",
        "no",
        "well",
        "oh",
        "ah",
        "nay",
        "aye",
        "i",
        "you",
        "he",
        "she",
        "it",
        "they",
        "we",
        "there",
        "here",
        "then",
        "now",
        "so",
        "but",
        "and",
        "mr",
    }
    | {
        "mrs",
        "miss",
        "dr",
        "sir",
        "st",
        "ha",
        "why",
        "what",
        "nothing",
        "never",
        "good",
        "come",
        "go",
        "indeed",
        "true",
        "perhaps",
        "still",
        "again",
        "silence",
        "alas",
        "hush",
        "stop",
        "finis",
        "end",
        "the",
        "a",
    }
)
_MIN_SPEECHES = 8  # a name with fewer does not count as a speaker
_MIN_SHARE = 0.4
_MIN_STAGED_SHARE = 0.22  # with a cast list or stage directions
_MIN_STAGE_LINES = 6
_MAX_NAME_LINE = 60
_CHARS_PER_WORD = 6
_SAMPLE_BLOCKS = 600
_LABEL_WORDS = 300  # words per name at the head of a paragraph, too few for chance; novels have a thousand
PLAY = "It is a play: most of it is speeches under their speakers' names."
_SPEECH_WORDS = 60  # words per name inside a paragraph; fewer are a play's


def play_reason(blocks: list[Block]) -> tuple[str, str]:
    """(reason, warning) for a book whose text is mostly, or in large part, speeches under speakers' names."""
    total = stage = 0
    cast = False
    labelled: list[tuple[str, int]] = []
    inside: Counter[str] = Counter()
    awaiting = ""
    for block in blocks:
        first = block.lines[0]
        if len(first) < _MAX_NAME_LINE and is_break(block):
            continue
        words = sum(map(len, block.lines)) // _CHARS_PER_WORD
        total += words
        lead = first.lstrip(" \t_[(*")[:1]
        if not lead.isupper():
            if awaiting:
                labelled.append((awaiting, words))
            awaiting = ""
            continue
        if len(first) < 2 * _MAX_NAME_LINE:
            stage += _STAGE.match(first) is not None
            cast = cast or _CAST.match(first) is not None
        name, alone = _speaker(first)
        if name and (not alone or len(block.lines) > 1):
            labelled.append((name, words))
            awaiting = ""
        elif name:
            awaiting = name
        elif awaiting:
            labelled.append((awaiting, words))
            awaiting = ""
    speeches = Counter(name for name, _ in labelled)
    speakers = {name for name, count in speeches.items() if count >= _MIN_SPEECHES}
    spoken = sum(words for name, words in labelled if name in speakers)
    share = spoken / max(1, total)
    step = max(1, len(blocks) // _SAMPLE_BLOCKS)
    for block in blocks[::step]:
        inside.update(_INSIDE.findall(" ".join(block.lines)))
    many = step * sum(count for name, count in inside.items() if count >= _MIN_SPEECHES)
    staged = cast or stage >= _MIN_STAGE_LINES
    if len(speakers) >= 2 and share > (_MIN_STAGED_SHARE if staged else _MIN_SHARE):
        return PLAY, ""
    if many * _SPEECH_WORDS > total and sum(n >= _MIN_SPEECHES for n in inside.values()) >= 2:
        return PLAY, ""
    labels = sum(speeches[name] for name in speakers)
    if len(speakers) >= 2 and labels * _LABEL_WORDS > total:
        return "", f"{labels} paragraphs begin with a name: it may be a dialogue, a play or letters."
    return "", ""


def _speaker(line: str) -> tuple[str, bool]:
    """(name, alone): the speaker at the start of a line, or '', and whether the name is alone on the line."""
    opening = line[: 2 * _MAX_NAME_LINE]
    match = _ALONE.match(line) if len(line) < _MAX_NAME_LINE else None
    alone = match is not None
    match = match or _OPENING.match(opening) or _DIRECTED.match(opening)
    if match is None:
        return "", False
    name = match[1].strip(" ._").lower()
    first = name.split()[0].rstrip(".")
    if (
        first in _NO_NAMES and not (" " in name and first in ("mr", "mrs", "miss", "dr", "sir", "the"))
    ) or parse_heading(line):
        return "", False
    return name, alone
