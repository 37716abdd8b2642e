"""Zigzag order of a sequence, which gives every context shard the same amount of causal attention.

With N shards the sequence is cut into 2N chunks, and shard i holds chunks i and 2N-1-i. The early chunk attends to few
tokens and the late chunk to many; the sum is the same for every i.
"""

import numpy as np

from polaris_jax.errors import InputError


def zigzag_order(length: int, shards: int) -> np.ndarray:
    """The permutation from storage to sequence: ``stored = natural[zigzag_order(...)]``.

    Args:
      length: sequence length (the window).
      shards: number of context shards N; 1 gives the identity.

    Returns:
      int32 [length]; entries ``[i * length/N, (i+1) * length/N)`` are the sequence positions that shard i holds.

    Raises:
      InputError: ``length`` is not a multiple of 2N.
    """
    if shards < 1:
        raise InputError("shards", shards, "must be at least 1")
    if shards == 1:
        return np.arange(length, dtype=np.int32)
    if length % (2 * shards):
        fits = -(-length // (2 * shards)) * 2 * shards
        raise InputError(
            "window", length, f"must be a multiple of 2 x {shards} context shards; the smallest that holds it is {fits}"
        )
    chunks = np.arange(length, dtype=np.int32).reshape(2 * shards, -1)
    return np.stack([chunks[:shards], chunks[::-1][:shards]], axis=1).reshape(-1)


def zigzag_inverse(length: int, shards: int) -> np.ndarray:
    """The permutation back: ``natural = stored[zigzag_inverse(...)]``; int32 [length]."""
    order = zigzag_order(length, shards)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(length, dtype=np.int32)
    return inverse
