"""How the tokens of texts are cut into chunks, and which chunks one pass over the weights reads."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


def chunks(n: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Cuts ``n`` tokens into ``(real tokens, padded size)``: whole chunks while they fit, little padding at the end."""
    plan = []
    while n > 0:
        holds = next((size for size in sizes if size >= n), sizes[-1])
        # One padded chunk beats several small ones as soon as a quarter of it is real: weights are read once per chunk.
        size = holds if 4 * n >= holds else max(s for s in sizes if s <= n)
        plan.append((min(n, size), size))
        n -= size
    return plan


class Pass(NamedTuple):
    """What one pass reads.

    Attributes:
      tokens: ``[n, T] int32``, the end of a row may be padding. valid: ``[n] int32``, how many of a row are real.
      rows: ``[n] int32``, the position in its group of the row that each group reads; None: every row is read.
    """

    tokens: np.ndarray
    valid: np.ndarray
    rows: np.ndarray | None


class _Chunk(NamedTuple):
    """Tokens of a row (its position in its group), to be read padded to ``size``."""

    row: int
    tokens: Sequence[int]
    size: int


def passes(new: Sequence[Sequence[int]], sizes: Sequence[int], groups: int, least: int | None) -> Iterator[Pass]:
    """The passes that read the ``new`` tokens of every row.

    Each group of rows has a queue of chunks; single last tokens of all rows are read together in the last pass.

    Args:
      sizes: of chunks, rising. groups: equal groups of rows; a pass reads a chunk of one row of each, or of every row.
      least: tokens whose products take as long as reading the weights: chunks of every row are read in one pass where
        that costs less. None: never, so that no bit of a row depends on the others.
    """
    waiting: list[list[_Chunk]] = [[] for _ in range(groups)]
    single, last = np.zeros((len(new), 1), np.int32), np.zeros(len(new), np.int32)
    per_group = len(new) // groups
    for b, tokens in enumerate(new):
        at = 0
        for count, size in chunks(len(tokens), sizes):
            if size == 1 and at == len(tokens) - 1:
                single[b, 0], last[b] = tokens[at], 1
            else:
                waiting[b // per_group].append(_Chunk(b % per_group, tokens[at : at + count], size))
            at += count
    while any(waiting):
        together = None if least is None else _of_all_rows(waiting, per_group, least)
        yield _of_each_group(waiting) if together is None else together
    if last.any():
        yield Pass(single, last, None)


def _of_each_group(waiting: list[list[_Chunk]]) -> Pass:
    """Takes the next chunk of every group, if it has the largest size among all next chunks."""
    size = max(line[0].size for line in waiting if line)
    tokens = np.zeros((len(waiting), size), np.int32)
    valid, rows = np.zeros((2, len(waiting)), np.int32)
    for group, line in enumerate(waiting):
        if line and line[0].size == size:
            rows[group], part, _ = line.pop(0)
            tokens[group, : len(part)], valid[group] = part, len(part)
    return Pass(tokens, valid, rows)


def _of_all_rows(waiting: list[list[_Chunk]], per_group: int, least: int) -> Pass | None:
    """Takes the next chunk of every row, if that costs less than one pass per chunk.

    A pass takes the time of its products (padding and idle rows included) or of reading the weights, if longer.
    """
    first = [{chunk.row: chunk for chunk in reversed(line)} for line in waiting]  # of every row
    size = max(chunk.size for line in first for chunk in line.values())
    alone = max(sum(max(chunk.size, least) for chunk in line.values()) for line in first)
    if max(map(len, first)) == 1 or max(per_group * size, least) > alone:
        return None
    tokens = np.zeros((len(waiting) * per_group, size), np.int32)
    valid = np.zeros(len(tokens), np.int32)
    for group, line in enumerate(first):
        for row, chunk in line.items():
            b = group * per_group + row
            tokens[b, : len(chunk.tokens)], valid[b] = chunk.tokens, len(chunk.tokens)
            waiting[group].remove(chunk)
    return Pass(tokens, valid, None)
