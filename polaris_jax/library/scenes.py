"""Cuts chapters into scenes whose concatenation is exactly the chapter.

Explicit breaks come first. Long passages without one are cut where vocabulary changes most: at the lexical-cohesion
minima of TextTiling (Hearst 1997) over windows of three paragraph groups. Then limits apply: no scene under 60 words,
none over 2,500 if a paragraph or sentence end allows it, at most 12 in a chapter.
"""

import re
from collections import defaultdict
from itertools import count, pairwise

import numpy as np

MIN_WORDS = 60
MAX_WORDS = 2_500
MAX_SCENES = 12
_TILE_FROM = 1_500  # words; a shorter passage is one scene unless the author broke it
_SPACING = 400
_GROUP = 100  # words
_COLUMNS = 512  # stems share columns in turn: this barely changes the cosine and keeps the arrays small
_WINDOW = 3
_DEPTH_SIGMAS = 0.5
_STEM = re.compile(" [a-z]{6}")  # the first six letters of longer words: a crude stem, cheap and enough
_SENTENCE = re.compile(r"(?<=[.!?])[\"”’)]*\s+(?=[\"“‘(]*[A-Z])")
_SEPARATOR = "\n\n"


def split_scenes(paragraphs: list[str], opens: list[bool]) -> tuple[str, ...]:
    """Cuts a chapter into scenes.

    Args:
      paragraphs: the chapter's paragraphs.
      opens: for each, whether an explicit break precedes it.

    Returns:
      Strings whose concatenation is ``"\\n\\n".join(paragraphs)``; empty for an empty chapter.
    """
    pieces, starts = _pieces(paragraphs, opens)
    if not pieces:
        return ()
    words = np.array([len(piece.split()) for piece in pieces])
    total = np.concatenate([[0], np.cumsum(words)])
    bounds = _merge_short(sorted({0, *starts}), total)
    cuts: list[int] = []
    for start, stop in zip(bounds, [*bounds[1:], len(pieces)], strict=True):
        cuts.append(start)
        if total[stop] - total[start] > _TILE_FROM and stop - start > 1:
            cuts.extend(_tile(pieces, start, stop, total))
    bounds = _limit(_merge_short(cuts, total), total)
    return tuple("".join(pieces[a:b]) for a, b in zip(bounds, [*bounds[1:], len(pieces)], strict=True))


def _pieces(paragraphs: list[str], opens: list[bool]) -> tuple[list[str], list[int]]:
    """Paragraphs with their separators (overlong ones in groups of sentences), and the indices where scenes open."""
    pieces: list[str] = []
    starts: list[int] = []
    for index, (paragraph, opening) in enumerate(zip(paragraphs, opens, strict=True)):
        if opening:
            starts.append(len(pieces))
        text = paragraph + _SEPARATOR if index + 1 < len(paragraphs) else paragraph
        pieces.extend(_sentence_groups(text) if len(text) > 4 * MAX_WORDS else [text])
    return pieces, starts


def _sentence_groups(text: str) -> list[str]:
    """A paragraph of more than MAX_WORDS words, cut into runs of sentences (of words if it has none)."""
    if len(text.split()) <= MAX_WORDS:
        return [text]
    target = len(text) / (len(text.split()) / (MAX_WORDS / 2))
    ends = [match.end() for match in _SENTENCE.finditer(text)]
    if len(ends) < 2:
        ends = [match.end() for match in re.finditer(r"\s+", text)]
    groups, start = [], 0
    for end in ends:
        if end - start >= target and len(text) - end > target / 4:
            groups.append(text[start:end])
            start = end
    return [*groups, text[start:]]


def _tile(pieces: list[str], start: int, stop: int, total: np.ndarray) -> list[int]:
    """Scene openings inside one passage: deep cohesion minima; what is still too long is halved."""
    edges = [start]
    for index in range(start + 1, stop):
        if total[index] - total[edges[-1]] >= _GROUP and total[stop] - total[index] >= _GROUP:
            edges.append(index)
    if len(edges) < 2:
        return []
    depth = _depths([" ".join(pieces[a:b]) for a, b in zip(edges, [*edges[1:], stop], strict=True)])
    by_edge = dict(zip(edges[1:], depth, strict=True))
    threshold = depth.mean() + _DEPTH_SIGMAS * depth.std()
    chosen: list[int] = []
    for index in sorted(by_edge, key=lambda i: (-by_edge[i], i)):
        if by_edge[index] < threshold:
            break
        if all(abs(total[index] - total[other]) >= _SPACING for other in (start, stop, *chosen)):
            chosen.append(index)
    bounds = [start, *sorted(chosen), stop]
    for a, b in pairwise(bounds):
        chosen.extend(_halve(a, b, by_edge, total))
    return sorted(chosen)


def _depths(groups: list[str]) -> np.ndarray:
    """TextTiling depth score at each boundary between groups: ``[len(groups) - 1]`` float."""
    ids: defaultdict[str, int] = defaultdict(count().__next__)
    rows: list[int] = []
    columns: list[int] = []
    for row, group in enumerate(groups):
        terms = _STEM.findall(group.lower())
        rows.extend([row] * len(terms))
        columns.extend(map(ids.__getitem__, terms))
    cells = (np.array(rows, int) + 1) * _COLUMNS + np.array(columns, int) % _COLUMNS
    counts = np.bincount(cells, minlength=(len(groups) + 1) * _COLUMNS).astype(np.float32)
    running = counts.reshape(-1, _COLUMNS).cumsum(axis=0)
    at = np.arange(1, len(groups))
    left = running[at] - running[np.maximum(at - _WINDOW, 0)]
    right = running[np.minimum(at + _WINDOW, len(groups))] - running[at]
    norm = np.sqrt((left * left).sum(1) * (right * right).sum(1)) + 1e-9
    cohesion = (left * right).sum(1) / norm
    return _climb(cohesion) + _climb(cohesion[::-1])[::-1]


def _climb(cohesion: np.ndarray) -> np.ndarray:
    """How far cohesion rises to the left of each boundary before it falls again."""
    peak = cohesion.copy()
    for i in range(1, len(peak)):
        if peak[i - 1] > cohesion[i]:
            peak[i] = peak[i - 1]
    return peak - cohesion


def _halve(start: int, stop: int, depth: dict[int, float], total: np.ndarray) -> list[int]:
    """Cuts a passage over MAX_WORDS at the deepest boundary in its middle part, as often as needed."""
    size = total[stop] - total[start]
    if size <= MAX_WORDS or stop - start < 2:
        return []
    inner = range(start + 1, stop)
    middle = [i for i in inner if 0.25 * size <= total[i] - total[start] <= 0.75 * size]
    if middle:
        cut = max(middle, key=lambda i: (depth.get(i, -1.0), -i))
    else:
        cut = min(inner, key=lambda i: abs(2 * (total[i] - total[start]) - size))
    return [cut, *_halve(start, cut, depth, total), *_halve(cut, stop, depth, total)]


def _merge_short(bounds: list[int], total: np.ndarray) -> list[int]:
    """Removes boundaries until no scene is under MIN_WORDS, joining each to its shorter neighbour."""
    bounds = sorted(set(bounds))
    edges = [*bounds, len(total) - 1]
    while len(edges) > 2:
        sizes = [int(total[b] - total[a]) for a, b in pairwise(edges)]
        short = next((i for i, size in enumerate(sizes) if size < MIN_WORDS), None)
        if short is None:
            break
        left = sizes[short - 1] if short > 0 else None
        right = sizes[short + 1] if short + 1 < len(sizes) else None
        join_left = right is None or (left is not None and left <= right)
        del edges[short if join_left else short + 1]
    return edges[:-1]


def _limit(bounds: list[int], total: np.ndarray) -> list[int]:
    """Joins the smallest adjacent pair until at most MAX_SCENES remain."""
    edges = [*bounds, len(total) - 1]
    while len(edges) - 1 > MAX_SCENES:
        pairs = [int(total[c] - total[a]) for a, c in zip(edges, edges[2:], strict=False)]
        del edges[pairs.index(min(pairs)) + 1]
    return edges[:-1]
