"""Transcripts in tokens, with role, kind and loss weight per token."""

import numpy as np

from polaris_jax import trajectory
from polaris_jax.data.record import Trajectory
from polaris_jax.data.tokenizer import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.trajectory.stages import TEXT_ROLES


def encode_transcript(
    transcript: str, tokenizer: Tokenizer, policy: trajectory.LossPolicy = trajectory.LossPolicy()
) -> Trajectory:
    """Tokenises a transcript and labels every token with the span its first character lies in.

    If the tokenizer has a BOS, one comes first, with role and kind of the first span and weight 0.

    Args:
      transcript: stages in the form of trajectory specification 4.1.
      tokenizer: its vocabulary goes with the store.
      policy: switches of the loss mask (specification 4.6).

    Raises:
      InputError: not a transcript, or text the tokenizer cannot spell.
    """
    spans = trajectory.spans(transcript, policy)
    if not spans:
        raise InputError("transcript", transcript, "has no stages")
    tokens, owner = tokenizer.encode_spans(transcript, [span.start for span in spans])
    roles = np.array([trajectory.ROLES.index(span.role) for span in spans], np.int8)[owner]
    kinds = np.array([trajectory.KINDS.index(span.kind) for span in spans], np.int8)[owner]
    weights = np.array([span.weight for span in spans], np.float32)[owner]
    if tokenizer.bos_id is not None:
        tokens = np.concatenate([np.array([tokenizer.bos_id], np.int32), tokens])
        roles, kinds = (np.concatenate([array[:1], array]) for array in (roles, kinds))
        weights = np.concatenate([np.zeros(1, np.float32), weights])
    return Trajectory(tokens, roles, kinds, weights)


def truncate(book: Trajectory, window: int, eot_id: int, *, least: float = 0.6) -> Trajectory | None:
    """Cuts a trajectory that is longer than ``window`` after the last chapter text that fits (specification 4.7).

    Returns:
      The trajectory itself if it fits; else its longest prefix of whole chapters; None when less than the share
      ``least`` of its chapters would remain.
    """
    if len(book) <= window:
        return book
    prose = [trajectory.ROLES.index(role) for role in sorted(TEXT_ROLES)]
    ends = 1 + np.flatnonzero((book.tokens == eot_id) & np.isin(book.roles, prose))
    kept = int(np.searchsorted(ends, window, side="right"))
    if kept == 0 or kept < least * len(ends):
        return None
    return book.cut(0, int(ends[kept - 1]))
