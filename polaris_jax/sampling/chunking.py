"""How the tokens of a text are cut into the chunks that a pass reads."""

from collections.abc import Sequence
from typing import NamedTuple


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


class Chunk(NamedTuple):
    """Tokens of a row (its position in its group), to be read padded to ``size``."""

    row: int
    tokens: Sequence[int]
    size: int
