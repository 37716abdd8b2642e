"""Attention over the ``context`` axis as one shard's program, in two halves that may be run apart.

``ShardAttention`` is what ``context_attention`` wraps in a ``shard_map``; a caller that is inside one already (the
layers' schedule of training) uses it directly, keeps output and log-sum-exp of the forward half, and later asks for the
backward half alone.
"""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from polaris_jax.ops.ring import AXIS, Ring, backward_only, largest, ring
from polaris_jax.ops.tiles import TokenMetadata, padded_length


class AttentionMetadata(NamedTuple):
    """Positions and segments of this shard's queries, and of the keys of every hop; padded to whole tiles."""

    queries: TokenMetadata  # [B, S]
    keys: TokenMetadata  # [hops, B, S]


class AttentionResiduals(NamedTuple):
    """What the backward pass needs besides q, k and v: ``out [B, H / group, S, D]``, ``lse [B, H / group, S]``."""

    out: jax.Array
    lse: jax.Array


@dataclass(frozen=True)
class ShardAttention:
    """How keys reach queries, and who computes a hop.

    Attributes:
      shards: size of the ``context`` axis. group: neighbouring shards that exchange heads (1: none).
      gather: all keys at once instead of hop by hop.
      backend: module of an attention backend (``attention_backends``); options: its own.
      block: tile edge in tokens. scale: multiplies the scores.
    """

    shards: int
    group: int
    gather: bool
    backend: ModuleType
    block: int
    scale: float
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def metadata(self, positions: jax.Array, segments: jax.Array) -> AttentionMetadata:
        """Gathers ``[B, S_local] int32`` of all shards: once per row, the same for every layer."""
        whole = jax.lax.all_gather(jnp.stack([positions, segments]), AXIS)  # [shards, 2, B, S_local]
        shards, _, B, S = whole.shape
        joined = whole.reshape(shards // self.group, self.group, 2, B, S).transpose(2, 0, 3, 1, 4)
        joined = joined.reshape(2, shards // self.group, B, self.group * S)
        joined = jnp.pad(joined, [(0, 0)] * 3 + [(0, self._padded(self.group * S)[1] - self.group * S)])
        mine = jax.lax.axis_index(AXIS) // self.group
        queries = TokenMetadata(*jax.lax.dynamic_index_in_dim(joined, mine, axis=1, keepdims=False))
        if self.gather:  # one hop over the keys of all shards
            joined = jnp.moveaxis(joined, 1, 2).reshape(2, 1, B, -1)
        return AttentionMetadata(queries, TokenMetadata(*joined))

    def forward(
        self, q: jax.Array, k: jax.Array, v: jax.Array, metadata: AttentionMetadata, window: int | None = None
    ) -> tuple[jax.Array, AttentionResiduals, jax.Array]:
        """``(out [B, S, H, D], residuals, max_logit [H] float32)``; differentiable through ``out``.

        ``max_logit`` is each head's largest scaled score of this group's rows, ``MASKED`` where no query saw a key.

        Args:
          q: ``[B, S, H, D]``; k, v: ``[B, S, G, D]``, this shard's.
        """
        out, lse, max_logit = ring(self._plan(q, window), *self._enter(q, k, v), *metadata)
        max_logit = largest(jax.lax.stop_gradient(max_logit))
        if self.group > 1:
            max_logit = jax.lax.all_gather(max_logit, AXIS, axis_index_groups=self.groups, tiled=True)
        return self._leave(out, q.shape[1]), AttentionResiduals(out, lse), max_logit

    def backward_only(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        metadata: AttentionMetadata,
        residuals: AttentionResiduals,
        window: int | None = None,
    ) -> jax.Array:
        """The same ``out`` from what ``forward`` kept: nothing runs until a gradient comes, then the backward pass."""
        out = backward_only(self._plan(q, window), *self._enter(q, k, v), *metadata, *jax.lax.stop_gradient(residuals))
        return self._leave(out, q.shape[1])

    def _padded(self, length: int) -> tuple[int, int]:
        return padded_length(length, self.block, self.backend.UNIT)

    def _plan(self, q, window) -> Ring:
        tile = self._padded(q.shape[1] * self.group)[0]
        by = self.backend.hops(self.scale, window, tile, **self.options)
        return Ring(self.shards, self.group, self.gather, by, self.scale)

    def _enter(self, q, k, v) -> tuple[jax.Array, jax.Array]:
        """``q [B, H / group, S, D]`` and both of keys and values as one array, padded."""
        q, k, v = (self._exchange(x.transpose(0, 2, 1, 3), 1, 2) for x in (q, k, v))
        room = self._padded(q.shape[2])[1] - q.shape[2]
        pad = lambda x: jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, room), (0, 0)])  # noqa: E731
        return pad(q), pad(jnp.stack([k, v]))

    def _leave(self, out, length: int) -> jax.Array:
        return self._exchange(out[:, :, : length * self.group], 2, 1).transpose(0, 2, 1, 3)

    def _exchange(self, x, split: int, join: int) -> jax.Array:
        if self.group == 1:
            return x
        return jax.lax.all_to_all(x, AXIS, split, join, axis_index_groups=self.groups, tiled=True)

    @property
    def groups(self) -> list[list[int]]:
        """The shards of every group."""
        return [list(range(first, first + self.group)) for first in range(0, self.shards, self.group)]
