"""DRY ("Don't Repeat Yourself"): a penalty on tokens that would prolong a repetition.

If the end of the text has occurred before, ``n`` tokens long, the token that followed then gets ``multiplier *
base ** (n - allowed_length)`` taken from its logit. Sequence breakers (line ends, quotation marks) end every match, so
that the fixed forms of a text may repeat.

Source: P. E. Weidmann, "DRY: a modern repetition penalty that reliably prevents looping",
text-generation-webui pull request 5677 (2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError

LONGEST_MATCH = 64  # tokens; beyond it every penalty is prohibitive


@dataclass(frozen=True)
class DryOptions:
    """How repetitions are penalised.

    Attributes:
      multiplier: factor of the penalty; above 0.
      base: growth of the penalty per further token of the match; at least 1.
      allowed_length: matches shorter than this cost nothing; at least 1.
      last_tokens: how far back to look; 0: the whole text.
      breakers: a token that contains one of these strings ends every match.
    """

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    last_tokens: int = 0
    breakers: tuple[str, ...] = ("\n", ":", '"', "*")

    def __post_init__(self) -> None:
        if not 0.0 < self.multiplier <= 100.0:
            raise InputError("dry_multiplier", self.multiplier, "use a number above 0, at most 100")
        if not 1.0 <= self.base <= 100.0:
            raise InputError("dry_base", self.base, "use a number from 1 to 100")
        if self.allowed_length < 1:
            raise InputError("dry_allowed_length", self.allowed_length, "must be at least 1")
        if self.last_tokens < 0:
            raise InputError("dry_penalty_last_n", self.last_tokens, "use 0 (the whole text) or a positive number")
        if any(not breaker for breaker in self.breakers):
            raise InputError("dry_sequence_breakers", self.breakers, "an empty string breaks nothing")


def breaker_tokens(pieces: Sequence[bytes], breakers: Sequence[str]) -> np.ndarray:
    """Which tokens of a vocabulary with bytes ``pieces`` end a match, ``[V] bool``."""
    marks = [breaker.encode() for breaker in breakers]
    return np.asarray([any(mark in piece for mark in marks) for piece in pieces], bool)


def dry_penalties(tokens: Sequence[int], options: DryOptions, ends_match: np.ndarray) -> dict[int, float]:
    """Token → what to take from its logit after the text ``tokens``; ``ends_match`` is ``breaker_tokens``."""
    text = np.asarray(tokens[-options.last_tokens :] if options.last_tokens else tokens, np.int64)
    if len(text) < 2:
        return {}
    last = len(text) - 1
    places = np.arange(last)  # where a match may end; the token after it is the one to penalise
    longest: dict[int, int] = {}
    for length in range(1, min(LONGEST_MATCH, last) + 1):
        back = last - length + 1
        if ends_match[text[back]]:
            break
        places = places[places >= length - 1]
        places = places[text[places - length + 1] == text[back]]
        if not len(places):
            break
        longest |= dict.fromkeys(text[places + 1].tolist(), length)
    return {
        token: options.multiplier * options.base ** (length - options.allowed_length)
        for token, length in longest.items()
        if length >= options.allowed_length
    }
