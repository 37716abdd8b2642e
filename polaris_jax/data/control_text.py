"""Keeps control strings that a person wrote as text: only a program may write control tokens.

``harmless`` breaks every control string in two. ``spell`` tokenises the result as the unbroken text.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polaris_jax.data.tokenizer import Tokenizer

_MARK = "\ue000\ue001"  # private-use characters that break a control string in two until it has been encoded


def harmless(tokenizer: Tokenizer, value: Any) -> Any:
    """``value`` with every control string broken in two, also inside lists and mappings."""
    if isinstance(value, str):
        return tokenizer.control_pattern.sub(lambda m: m[0][0] + _MARK + m[0][1:], value)
    if isinstance(value, Mapping):
        return {harmless(tokenizer, name): harmless(tokenizer, item) for name, item in value.items()}
    return [harmless(tokenizer, item) for item in value] if isinstance(value, list) else value


def spell(tokenizer: Tokenizer, text: str, edges: Sequence[int] = (0,)) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a text built from ``harmless`` ones, and for each token the span in which its first byte lies.

    Args:
      text: a control string that is still whole becomes a control token.
      edges: ascending character offsets at which spans begin; the first is 0.

    Returns:
      ids and indices of spans, int32 [n].

    Raises:
      InputError: text the tokenizer cannot spell.
    """
    ids: list[int] = []
    owners: list[int] = []
    at = 0
    for number, part in enumerate(tokenizer.control_pattern.split(text)):
        if number % 2:
            ids.append(tokenizer.control_tokens[part])
            owners.append(bisect_right(edges, at) - 1)
            at += len(part)
            continue
        for piece in part.split(_MARK):
            first, last = bisect_right(edges, at) - 1, bisect_left(edges, at + len(piece))
            if piece:
                tokens, spans = tokenizer.encode_spans(piece, [0, *(e - at for e in edges[first + 1 : last])])
                ids.extend(tokens.tolist())
                owners.extend((first + spans).tolist())
            at += len(piece) + len(_MARK)
        at -= len(_MARK)
    return np.array(ids, np.int32), np.array(owners, np.int32)
