"""Repetition in free-running text: distinct n-grams, repeated long n-grams, and where the first loop begins."""

from collections.abc import Sequence

from polaris_jax.sampling.guard import LoopGuard

# Words, not tokens: eight words are about the twelve tokens by which the writer's own guard knows a loop.
_GUARD = LoopGuard(window=300, span=8, times=3)


def distinct(words: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams (distinct-n); 1 for a text shorter than ``n``."""
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def repeated_share(words: Sequence[str], n: int = 12) -> float:
    """Share of the n-grams that had occurred before in the same text."""
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def loop_start(words: Sequence[str]) -> float:
    """Where the first loop begins to repeat itself, as a share of the text; 1 when there is no loop.

    A loop is the writer's own (``sampling.LoopGuard``): a stretch of eight words that occurs three times within 300.
    """
    numbers = {word: index for index, word in enumerate(dict.fromkeys(words))}
    start = _GUARD.first_loop([numbers[word] for word in words])
    return 1.0 if start is None else start / len(words)
