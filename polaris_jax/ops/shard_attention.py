"""Attention over the ``context`` axis as one shard's program, in two halves that may be run apart.

``ShardAttention`` is what ``context_attention`` wraps in a ``shard_map``; a caller that is inside one already (the
layers' schedule of training) uses it directly, keeps output and log-sum-exp of the forward half, and later asks for the
backward half alone.
"""

import functools
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from polaris_jax.ops.ring import AXIS, Ring, largest, resumed, ring
from polaris_jax.ops.tiles import Side, padded_length


class Sides(NamedTuple):
    """Who the queries of this shard are, and the keys of every hop; padded to whole tiles."""

    queries: Side  # [B, S]
    keys: Side  # [hops, B, S]


class Kept(NamedTuple):
    """What the backward half needs besides q, k and v: ``out [B, H / group, S, D]``, ``lse [B, H / group, S]``."""

    out: jax.Array
    lse: jax.Array


@dataclass(frozen=True)
class ShardAttention:
    """How keys reach queries, and who computes a hop.

    Attributes:
      shards: size of the ``context`` axis. group: neighbouring shards that exchange heads (1: none).
      gather: all keys at once instead of hop by hop.
      executor: ``tile_xla`` or ``tile_tpu``; options: its own.
      block: tile edge in tokens. scale: multiplies the scores.
    """

    shards: int
    group: int
    gather: bool
    executor: ModuleType
    block: int
    scale: float
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def sides(self, positions: jax.Array, segments: jax.Array) -> Sides:
        """Gathers ``[B, S_local] int32`` of all shards: once per row, the same for every layer."""
        whole = jax.lax.all_gather(jnp.stack([positions, segments]), AXIS)  # [shards, 2, B, S_local]
        shards, _, B, S = whole.shape
        joined = whole.reshape(shards // self.group, self.group, 2, B, S).transpose(2, 0, 3, 1, 4)
        joined = joined.reshape(2, shards // self.group, B, self.group * S)
        joined = jnp.pad(joined, [(0, 0)] * 3 + [(0, self._padded(self.group * S)[1] - self.group * S)])
        mine = jax.lax.axis_index(AXIS) // self.group
        queries = Side(*jax.lax.dynamic_index_in_dim(joined, mine, axis=1, keepdims=False))
        if self.gather:  # one hop over the keys of all shards
            joined = jnp.moveaxis(joined, 1, 2).reshape(2, 1, B, -1)
        return Sides(queries, Side(*joined))

    def forward(self, q, k, v, sides: Sides, window: int | None = None) -> tuple[jax.Array, Kept, jax.Array]:
        """``(out [B, S, H, D], what to keep, max_logit [H] float32)``; differentiable through ``out``.

        ``max_logit`` is each head's largest scaled score of this group's rows, ``MASKED`` where no query saw a key.

        Args:
          q: ``[B, S, H, D]``; k, v: ``[B, S, G, D]``, this shard's.
        """
        out, lse, top = ring(self._plan(q, window), *self._enter(q, k, v), *sides)
        top = largest(jax.lax.stop_gradient(top))
        if self.group > 1:
            top = jax.lax.all_gather(top, AXIS, axis_index_groups=self.groups, tiled=True)
        return self._leave(out, q.shape[1]), Kept(out, lse), top

    def resume(self, q, k, v, sides: Sides, kept: Kept, window: int | None = None) -> jax.Array:
        """The same ``out``, without running the ring: only its backward pass is still to come."""
        out = resumed(self._plan(q, window), *self._enter(q, k, v), *sides, *jax.lax.stop_gradient(kept))
        return self._leave(out, q.shape[1])

    def _padded(self, length: int) -> tuple[int, int]:
        return padded_length(length, self.block, self.executor.UNIT)

    def _plan(self, q, window) -> Ring:
        tile = self._padded(q.shape[1] * self.group)[0]
        options = {**self.options, "scale": self.scale, "window": window, "q_block": tile, "kv_block": tile}
        return Ring(self.shards, self.group, self.gather, functools.partial(self.executor.forward, **options),
                    functools.partial(self.executor.backward, **options), self.scale)

    def _enter(self, q, k, v) -> tuple[jax.Array, jax.Array]:
        """``q [B, H / group, S, D]`` and both of keys and values as one array, padded."""
        q, k, v = (self._exchange(x.transpose(0, 2, 1, 3), 1, 2) for x in (q, k, v))
        room = self._padded(q.shape[2])[1] - q.shape[2]
        pad = lambda x: jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, room), (0, 0)])  # noqa: E731
        return pad(q), pad(jnp.stack([k, v]))

    def _leave(self, out, length: int) -> jax.Array:
        return self._exchange(out[:, :, :length * self.group], 2, 1).transpose(0, 2, 1, 3)

    def _exchange(self, x, split: int, join: int) -> jax.Array:
        if self.group == 1:
            return x
        return jax.lax.all_to_all(x, AXIS, split, join, axis_index_groups=self.groups, tiled=True)

    @property
    def groups(self) -> list[list[int]]:
        """The shards of every group."""
        return [list(range(first, first + self.group)) for first in range(0, self.shards, self.group)]
