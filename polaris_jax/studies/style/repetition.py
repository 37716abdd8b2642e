"""Repetition in generated text: distinct n-grams, repeated long n-grams, and the start of the first loop."""

from collections.abc import Hashable, Sequence

from polaris_jax.sampling.guard import LoopGuard

# In words, not tokens: eight words are about the twelve tokens of the writer's own guard.
_GUARD = LoopGuard(window=300, span=8, times=3)


def distinct(words: Sequence[Hashable], n: int) -> float:
    """Different n-grams over all n-grams (distinct-n); 1 for a text shorter than ``n``."""
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def repeated_share(words: Sequence[Hashable], n: int = 12) -> float:
    """Share of the n-grams that had occurred before in the same text."""
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def loop_start(words: Sequence[str]) -> float:
    """Start of the first loop's repetition, as a share of the text; 1 without a loop.

    A loop is defined as in the writer (``sampling.LoopGuard``): eight consecutive words that occur three times within
    300.
    """
    numbers = {word: index for index, word in enumerate(dict.fromkeys(words))}
    start = _GUARD.first_loop([numbers[word] for word in words])
    return 1.0 if start is None else start / len(words)
