"""How the tokens of a recurrent layer reach one another, bound to rows: what ``attend`` is to an attention layer."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from polaris_jax.ops.delta_rule import convolution_tail
from polaris_jax.ops.recurrent_backend import XLA, RecurrentBackend


class Recurrence(NamedTuple):
    """The steps of ``RecurrentBackend`` with documents, states and shards bound.

    Attributes:
      short_convolution: ``(x [B, S, C], kernel [K, C], widths) -> parts [B, S, width]``.
      delta_rule: ``(q, k, v, beta, log_decay) -> [B, S, H, dv]``.
      gated_norm: as there.
    """

    short_convolution: Callable[[jax.Array, jax.Array, tuple[int, ...]], tuple[jax.Array, ...]]
    delta_rule: Callable[..., jax.Array]
    gated_norm: Callable[..., jax.Array]


def whole_rows(segment_ids: jax.Array | None = None, backend: RecurrentBackend = XLA) -> Recurrence:
    """Of rows that are whole and in storage order; ``segment_ids: [B, S] int32``."""

    def short_convolution(x, kernel, widths):
        return backend.short_convolution(x, kernel, widths=widths, segment_ids=segment_ids)

    def delta_rule(q, k, v, beta, log_decay):
        return backend.delta_rule(q, k, v, beta=beta, log_decay=log_decay, segment_ids=segment_ids)[0]

    return Recurrence(short_convolution, delta_rule, backend.gated_norm)


def continued(
    state: dict[str, jax.Array], valid: jax.Array | None = None, backend: RecurrentBackend = XLA
) -> tuple[Recurrence, dict[str, jax.Array]]:
    """Of tokens that follow others, and a dict that holds their state once both functions ran.

    Args:
      state: of the tokens before: ``conv [B, K-1, C]`` and ``memory [B, H, dk, dv] float32``.
      valid: ``[B] int32``, how many leading tokens of each row are real; the others leave the state unchanged.
    """
    kept: dict[str, jax.Array] = {}

    def short_convolution(x, kernel, widths):
        kept["conv"] = convolution_tail(x, kernel.shape[0] - 1, state=state["conv"], valid=valid)
        return backend.short_convolution(x, kernel, widths=widths, state=state["conv"])

    def delta_rule(q, k, v, beta, log_decay):
        how = {"beta": beta, "log_decay": log_decay, "initial": state["memory"], "valid": valid}
        out, kept["memory"] = backend.delta_rule(q, k, v, **how)
        return out

    return Recurrence(short_convolution, delta_rule, backend.gated_norm), kept
