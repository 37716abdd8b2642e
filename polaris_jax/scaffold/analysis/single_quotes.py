"""Finds speech in single quotation marks, as in British books, and tells the marks from apostrophes.

An opening mark stands before a word and after a space, a dash or a bracket; so does the apostrophe of a word that lost
its beginning ('tis, 'em, '93). A closing mark stands after punctuation. After a word, a mark may also be the apostrophe
of a possessive (the boys' house) or of a word that lost its end (an' so); it closes speech only if no better mark
follows.
"""

import re

_OPENING = re.compile(r"(?:(?<=[\s(\[—–\-\"“])|^)[‘'`](?=[^\s'’]|['’]\w)")
_ELIDED = re.compile(
    r"['’‘`](?:\d\ds?\b|(?:t(?:is|was|were|will|would|isn|wasn|were?n|wouldn|ain)|em|ee|n|e|er|ere|ow|ave|ad|as|im|is|"
    r"il|ospital|orse|ouse|ome|alf|and|ang|ere|cause|bout|gainst|fore|neath|mongst|mid|twixt|tween|cos|cept|way|stead|"
    r"nother|nough|pon|scuse|spose|zackly|gin|un|uns|d|s|ll|re|ve|cello|bus|phone|varsity|change|kerchief)\b)"
)
_CLOSING = re.compile(r"(?<=[^\s(\[])[’'](?![\w’'])")
_SURE = '.,;:!?…—–-*)"”_'


def count_single_quotes(text: str) -> int:
    """How often a text opens speech with a single mark: pairs of an opening mark and one after punctuation."""
    curly = sum(1 for _ in re.finditer(r"(?:(?<=[\s(—–-])|^)‘", text, re.M))
    straight = min(
        sum(
            _ELIDED.match(text, match.start()) is None for match in re.finditer(r"(?:(?<=[\s(—–-])|^)['`](?=\w)", text)
        ),
        len(re.findall(r"(?<=[.,;:!?…—–-])'(?![\w'])", text)),
    )
    return curly + straight


def single_quoted_spans(paragraph: str) -> list[tuple[int, int]]:
    """Character ranges of the speeches in a paragraph, marks included; an open speech ends with the paragraph."""
    openings = [match.start() for match in _OPENING.finditer(paragraph)]
    closings = [match.start() for match in _CLOSING.finditer(paragraph)]
    spans: list[tuple[int, int]] = []
    end = 0
    for number, start in enumerate(openings):
        if start < end:
            continue
        elided = _ELIDED.match(paragraph, start) is not None
        following = next((o for o in openings[number + 1 :] if not _ELIDED.match(paragraph, o)), len(paragraph))
        inside = [c for c in closings if start < c < following]
        sure = next((c for c in inside if paragraph[c - 1] in _SURE), None)
        if sure is None and not elided:
            sure = inside[-1] if inside else None
        if sure is not None:
            end = sure + 1
        elif elided or not paragraph[start + 1 : start + 2].isupper():
            continue  # an apostrophe
        elif following == len(paragraph):
            end = len(paragraph)
        else:
            end = following  # no closing mark before the next speech opens
        spans.append((start, end))
    return spans
