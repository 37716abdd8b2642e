"""How the tokens of texts are cut into chunks, and which chunks one pass over the weights reads."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


def chunks(n: int, sizes: Sequence[int], fixed: int) -> list[tuple[int, int]]:
    """Cuts ``n`` tokens into ``(real tokens, padded size)``: whole largest chunks, then what costs least for the rest.

    Args:
      sizes: of chunks, rising, from 1. fixed: what a pass costs besides its tokens, in tokens (``pass_cost``).
    """
    whole, rest = divmod(n, sizes[-1])
    return [(sizes[-1], sizes[-1])] * whole + _cheapest(rest, tuple(sizes), fixed)[1]


def pass_cost(size: int, fixed: int) -> int:
    """What a pass over ``size`` tokens costs, padding included, in the time that one token's products take."""
    return size + fixed


def _cheapest(n: int, sizes: tuple[int, ...], fixed: int) -> tuple[int, list[tuple[int, int]]]:
    """Cost and chunks of fewer than ``sizes[-1]`` tokens: one padded chunk, or whole ones and what is left."""
    if not n:
        return 0, []
    holds = next(size for size in sizes if size >= n)
    padded = pass_cost(holds, fixed), [(n, holds)]
    if holds == n:
        return padded
    size = max(size for size in sizes if size <= n)
    whole, rest = divmod(n, size)
    cost, plan = _cheapest(rest, sizes, fixed)
    return min(
        padded, (whole * pass_cost(size, fixed) + cost, [(size, size)] * whole + plan), key=lambda found: found[0]
    )


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


def passes(
    new: Sequence[Sequence[int]], sizes: Sequence[int], groups: int, fixed: int, *, together: bool
) -> Iterator[Pass]:
    """The passes that read the ``new`` tokens of every row.

    Each group of rows has a queue of chunks; single last tokens of all rows are read together in the last pass.

    Args:
      sizes: of chunks, rising. groups: equal groups of rows; a pass reads a chunk of one row of each, or of every row.
      fixed: what a pass costs besides its tokens, in tokens (``pass_cost``).
      together: chunks of every row are read in one pass where that costs less. False: no bit of a row depends on the
        others.
    """
    waiting: list[list[_Chunk]] = [[] for _ in range(groups)]
    single, last = np.zeros((len(new), 1), np.int32), np.zeros(len(new), np.int32)
    per_group = len(new) // groups
    for b, tokens in enumerate(new):
        at = 0
        for count, size in chunks(len(tokens), sizes, fixed):
            if size == 1 and at == len(tokens) - 1:
                single[b, 0], last[b] = tokens[at], 1
            else:
                waiting[b // per_group].append(_Chunk(b % per_group, tokens[at : at + count], size))
            at += count
    while any(waiting):
        shared = _of_all_rows(waiting, per_group, fixed) if together else None
        yield _of_each_group(waiting) if shared is None else shared
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


def _of_all_rows(waiting: list[list[_Chunk]], per_group: int, fixed: int) -> Pass | None:
    """Takes the next chunk of every row, idle rows included, if that costs less than one pass per chunk."""
    first = [{chunk.row: chunk for chunk in reversed(line)} for line in waiting]  # of every row
    size = max(chunk.size for line in first for chunk in line.values())
    alone = max(sum(pass_cost(chunk.size, fixed) for chunk in line.values()) for line in first)
    if max(map(len, first)) == 1 or pass_cost(per_group * size, fixed) > alone:
        return None
    tokens = np.zeros((len(waiting) * per_group, size), np.int32)
    valid = np.zeros(len(tokens), np.int32)
    for group, line in enumerate(first):
        for row, chunk in line.items():
            b = group * per_group + row
            tokens[b, : len(chunk.tokens)], valid[b] = chunk.tokens, len(chunk.tokens)
            waiting[group].remove(chunk)
    return Pass(tokens, valid, None)
