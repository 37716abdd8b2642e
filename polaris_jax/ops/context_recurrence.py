"""The gated delta rule over rows spread over the ``context`` axis: one shard's program, to run inside ``shard_map``.

A shard holds two halves of its own. In zigzag order (``data.zigzag``) these are an early and a late stretch of the row,
so a half may go on where another shard's half ends. A half acts on the memory as an affine map, ``S -> A S + B``, whose
size does not depend on its length, and which the rule itself gives: ``B`` is the memory that it leaves of an empty one,
``A`` what it leaves of the identity while there are no values. Scans of ``log2 N`` hops compose the maps, one up the
shards for the early halves and one down for the late ones, and give every half the memory it starts from; then each
half is an ordinary row with an ``initial``. The backward pass does the same with the transposed maps, from the end of
the row to its start. A half that starts with a new document continues nothing: its map is zero, which cuts the chain.

The order of the halves, zigzag or one after the other, is read from segments and positions, as attention reads it. Rows
in any other order give NaN, since a half could not know what it continues.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.ops.recurrence import Recurrence
from polaris_jax.ops.recurrent_backend import XLA, RecurrentBackend
from polaris_jax.ops.ring import AXIS


class RowOrder(NamedTuple):
    """How this shard's halves follow others; the same for every layer.

    Attributes:
      segments: ``[2B, S_local / 2] int32``, halves as rows.
      contiguous: ``[B] bool``: halves follow one another in storage; otherwise in zigzag order.
      known: ``[B] bool``: the row is in one of the two orders.
      continues: ``[B, 2] bool``: the half starts inside a document that another half began.
      tail: ``[2B, K - 1] int32``: segments of the last tokens before the half, -1 for another document's.
    """

    segments: jax.Array
    contiguous: jax.Array
    known: jax.Array
    continues: jax.Array
    tail: jax.Array


class Entered(NamedTuple):
    """What the backward pass needs of the forward scan: ``A [B, 2, H, dk, dk]``, memories ``[B, 2, H, dk, dv]``."""

    maps: jax.Array
    memories: jax.Array


@dataclass(frozen=True)
class ContextRecurrence:
    """The recurrent layers' part of a shard's program.

    Attributes:
      shards: size of the ``context`` axis. kernel: taps K of the short convolution.
      backend: who computes the steps of a half; the rule must take ``segment_ids`` and a gradient of ``initial``.
    """

    shards: int
    kernel: int
    backend: RecurrentBackend = XLA

    def order(self, positions: jax.Array, segments: jax.Array) -> RowOrder:
        """From ``[B, S_local] int32`` of this shard: once per row, the same for every layer.

        Raises:
          InputError: halves shorter than the convolution's tail.
        """
        B, S = segments.shape
        tail = self.kernel - 1
        if S % 2 or tail > S // 2:
            raise InputError(
                "config.data.window",
                S * self.shards,
                f"context={self.shards} cuts it into {2 * self.shards} equal parts of at least {tail} tokens for the "
                f"convolution of recurrent layers; set --config.data.window={2 * self.shards * max(tail, -(-S // 2))}",
            )
        halves = lambda x: x.reshape(B, 2, S // 2)  # noqa: E731
        positions, segments = halves(positions), halves(segments)
        mine = [segments[..., :1], positions[..., :1], positions[..., -1:], segments[..., -tail:]]
        edges = jax.lax.all_gather(jnp.concatenate(mine, axis=-1), AXIS)  # [shards, B, 2, 3 + tail]
        edges = jnp.moveaxis(edges, 0, 1).reshape(B, 2 * self.shards, -1)
        segment, first, last, tails = edges[..., 0], edges[..., 1], edges[..., 2], edges[..., 3:]
        # Of the halves that end in a half's document before its first token, it follows the last one. 0 is padding.
        before = (tails[:, None, :, -1] == segment[..., None]) & (last[:, None, :] < first[..., None])
        before &= segment[..., None] > 0
        found = jnp.where(before.any(-1), jnp.where(before, last[:, None, :], -1).argmax(-1), -1)  # [B, 2N]

        def explains(followed):
            return ((found < 0) | (found == jnp.asarray(followed))).all(-1)

        contiguous = explains(range(-1, 2 * self.shards - 1))
        known = contiguous | explains(self._followed_in_zigzag())
        found = found[:, jax.lax.axis_index(AXIS) * 2 + jnp.arange(2)]
        tails = jnp.take_along_axis(tails, jnp.maximum(found, 0)[..., None], axis=1)
        return RowOrder(
            segments.reshape(2 * B, -1),
            contiguous,
            known,
            found >= 0,
            jnp.where(found[..., None] >= 0, tails, -1).reshape(2 * B, tail),
        )

    def _followed_in_zigzag(self) -> list[int]:
        """Per half in storage order, the half that it follows; -1 for the first of the row."""
        places = [i for shard in range(self.shards) for i in (shard, 2 * self.shards - 1 - shard)]
        return [places.index(place - 1) if place else -1 for place in places]

    def bound(self, order: RowOrder, delta_rule: Callable[..., jax.Array] | None = None) -> Recurrence:
        """The layers' ``Recurrence`` over these rows; ``delta_rule`` instead of ``forward`` without what that keeps."""

        def forward(*tokens: jax.Array) -> jax.Array:
            return self.forward(order, *tokens)[0]

        convolution = functools.partial(self.short_convolution, order)
        return Recurrence(convolution, delta_rule or forward, self.backend.gated_norm)

    def short_convolution(
        self, order: RowOrder, x: jax.Array, kernel: jax.Array, widths: tuple[int, ...]
    ) -> tuple[jax.Array, ...]:
        """Of ``x [B, S_local, C]``; the inputs before each half come from the half that it follows."""
        B, S, C = x.shape
        halves = x.reshape(B, 2, S // 2, C)
        tails = halves[:, :, S // 2 - (self.kernel - 1) :]
        state = self._before(order, tails).reshape(2 * B, -1, C)
        where = {"segment_ids": order.segments, "state": state, "state_segments": order.tail}
        parts = self.backend.short_convolution(halves.reshape(2 * B, -1, C), kernel, widths=widths, **where)
        return tuple(part.reshape(B, S, -1) for part in parts)

    def forward(
        self, order: RowOrder, q: jax.Array, k: jax.Array, v: jax.Array, beta: jax.Array, log_decay: jax.Array
    ) -> tuple[jax.Array, Entered]:
        """The rule over ``[B, S_local, ...]``: ``(out [B, S_local, H, dv] in the dtype of v, entered)``.

        Gradients go through ``out``.
        """
        entered = self.enter(order, *jax.lax.stop_gradient((k, v, beta, log_decay)))
        return self.given(order, entered, q, k, v, beta, log_decay), entered

    def given(self, order: RowOrder, entered: Entered, *tokens: jax.Array) -> jax.Array:
        """The ``out`` of ``forward`` from what it kept: no forward scan over the shards."""
        return _entered_rule(self, order, entered, *tokens)

    def enter(self, order: RowOrder, k: jax.Array, v: jax.Array, beta: jax.Array, log_decay: jax.Array) -> Entered:
        """The memory that every half starts from."""
        a, b = (_by_row(x) for x in self.maps(order, *(_halves(x) for x in (k, v, beta, log_decay))))
        continues = order.continues[..., None, None, None]
        a = jnp.where(continues, a, 0.0)
        memories = jnp.where(continues, self._chain(order, a, b), 0.0)
        return Entered(a, jnp.where(order.known[:, None, None, None, None], memories, jnp.nan))

    def maps(
        self, order: RowOrder, k: jax.Array, v: jax.Array, beta: jax.Array, log_decay: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """What halves do to the memory: ``(A [2B, H, dk, dk], B [2B, H, dk, dv])``, float32.

        ``A`` is zero where a later document starts in the half. Arguments as ``[2B, S_local / 2, ...]``.
        """
        how = {"beta": beta, "log_decay": log_decay, "segment_ids": order.segments}
        heads, dk = v.shape[2], k.shape[-1]
        identity = jnp.broadcast_to(jnp.eye(dk), (k.shape[0], heads, dk, dk))
        # A zero of this layer's own: otherwise the compiler keeps one array of them for several layers.
        zero, k = jax.lax.optimization_barrier((jnp.zeros((), v.dtype), k))
        _, a = self.backend.delta_rule(k, k, jnp.full((*v.shape[:3], dk), zero), **how, initial=identity)
        return a, self.backend.delta_rule(k, k, v, **how)[1]

    def _before(self, order: RowOrder, x: jax.Array) -> jax.Array:
        """``x [B, 2, ...]`` of the halves that this shard's halves follow; anything where they follow none."""
        contiguous = order.contiguous.reshape(-1, *[1] * (x.ndim - 2))
        from_below = self._hop(jnp.where(contiguous, x[:, 1], x[:, 0]), 1)
        from_above = self._hop(x[:, 1], -1)
        last = jax.lax.axis_index(AXIS) == self.shards - 1
        return jnp.stack([from_below, jnp.where(contiguous | last, x[:, 0], from_above)], axis=1)

    def _hop(self, x: jax.Array, by: int) -> jax.Array:
        """``x`` of the shard ``by`` places below; zeros where there is none."""
        pairs = [(i, i + by) for i in range(self.shards) if 0 <= i + by < self.shards]
        return jax.lax.ppermute(x, AXIS, pairs)

    def _chain(self, order: RowOrder, a: jax.Array, b: jax.Array, *, backward: bool = False) -> jax.Array:
        """What every half is entered with, ``[B, 2, H, dk, dv]``, from the maps ``a, b [B, 2, H, ...]`` of all.

        Args:
          backward: from the end of the row to its start.
        """
        first, second = ((a[:, i], b[:, i]) for i in ((1, 0) if backward else (0, 1)))
        both = _multiply(second[0], first[0]), _apply(second, first[1])
        contiguous = order.contiguous[:, None, None, None]
        choose = lambda x, y: (jnp.where(contiguous, x[0], y[0]), jnp.where(contiguous, x[1], y[1]))  # noqa: E731
        # In zigzag order the first halves go up the shards and the second ones come down, whatever the direction; they
        # turn at the last shard, whose second half begins with what its first half leaves.
        up = self._scan(first if backward else choose(both, first), 1)
        left = _apply(first, up)
        last = jax.lax.axis_index(AXIS) == self.shards - 1
        turned = jnp.where(last, 0.0, second[0]), jnp.where(last, _apply(second, left), second[1])
        down = self._scan(choose(both, turned) if backward else turned, -1)
        begun = jnp.where(contiguous, down, up) if backward else up
        ended = jnp.where(contiguous, _apply(first, begun), jnp.where(last, left, down))
        return jnp.stack([ended, begun] if backward else [begun, ended], axis=1)

    def _scan(self, pair: tuple[jax.Array, jax.Array], by: int) -> jax.Array:
        """The memory that the maps of all shards before this one leave, going up (``by`` 1) or down (-1).

        Hillis and Steele's scan (1986), in ``scan_hops`` hops. Where a hop finds no shard it brings zeros, and a map
        that is zero stands for all that begins with an empty memory.
        """
        hops = scan_hops(self.shards)
        a, b = pair[0] if hops == 1 else self._hop(pair[0], by), self._hop(pair[1], by)
        for hop in range(hops - 1):
            b = _apply((a, b), self._hop(b, by << hop))
            if hop < hops - 2:  # the last hop needs no map behind it
                a = _multiply(a, self._hop(a, by << hop))
        return b


def scan_hops(shards: int) -> int:
    """Hops of one scan over so many shards: to the next one, then as often as the distance doubles."""
    return 1 + (shards - 2).bit_length()


def spread_recurrence(positions: jax.Array, segments: jax.Array, *, mesh: Mesh, kernel: int) -> Recurrence:
    """The ``Recurrence`` of rows sharded over ``context``, for programs whose other collectives the compiler infers.

    Batch is spread over ``(data, fsdp)``, heads over ``tensor``; the channels of the convolution are not.

    Args:
      positions, segments: ``[B, S] int32``. kernel: taps of the short convolution.
    """
    plan = ContextRecurrence(mesh.shape[AXIS], kernel)
    tensor = mesh.shape["tensor"]
    rows = P(("data", "fsdp"), AXIS)
    heads = P(*rows, "tensor")

    def spread(local: Callable, specs: tuple, out: Any) -> Callable:
        def ordered(positions, segments, *arguments):
            return local(plan.order(positions, segments), *arguments)

        how = {"mesh": mesh, "in_specs": (rows, rows, *specs), "out_specs": out, "check_vma": False}
        return functools.partial(jax.shard_map(ordered, **how), positions, segments)

    def short_convolution(x: jax.Array, taps: jax.Array, widths: tuple[int, ...]) -> tuple[jax.Array, ...]:
        local = functools.partial(plan.short_convolution, widths=widths)
        return spread(local, (rows, P()), (rows,) * len(widths))(x, taps)

    def delta_rule(q: jax.Array, k: jax.Array, *others: jax.Array) -> jax.Array:
        if tensor > q.shape[2]:  # a key head for every device
            q, k = (jnp.repeat(x, tensor // x.shape[2], axis=2) for x in (q, k))
        forward = lambda *arguments: plan.forward(*arguments)[0]  # noqa: E731
        return spread(forward, (heads,) * 5, heads)(q, k, *others)

    return Recurrence(short_convolution, delta_rule, plan.backend.gated_norm)


def _halves(x: jax.Array) -> jax.Array:
    """``[B, S, ...] -> [2B, S / 2, ...]``."""
    return x.reshape(2 * x.shape[0], x.shape[1] // 2, *x.shape[2:])


def _by_row(x: jax.Array) -> jax.Array:
    """``[2B, ...] -> [B, 2, ...]``."""
    return x.reshape(-1, 2, *x.shape[1:])


def _multiply(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum("bhij,bhjk->bhik", a, b, precision=jax.lax.Precision.HIGHEST)


def _apply(pair: tuple[jax.Array, jax.Array], memory: jax.Array) -> jax.Array:
    return _multiply(pair[0], memory) + pair[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _entered_rule(plan: ContextRecurrence, order: RowOrder, entered: Entered, q, k, v, beta, log_decay) -> jax.Array:
    return _entered_forward(plan, order, entered, q, k, v, beta, log_decay)[0]


def _entered_forward(plan, order, entered, *tokens):
    def rule(initial, q, k, v, beta, log_decay):
        how = {"segment_ids": order.segments, "initial": initial}
        return plan.backend.delta_rule(q, k, v, beta=beta, log_decay=log_decay, **how)

    initial = entered.memories.reshape(-1, *entered.memories.shape[2:])
    (out, _), pull_back = jax.vjp(rule, initial, *(_halves(x) for x in tokens))
    return out.reshape(tokens[0].shape[0], -1, *out.shape[2:]), (order, entered.maps, pull_back)


def _entered_backward(plan, saved, dout):
    order, maps, pull_back = saved
    rows, dout = dout.shape[0], _halves(dout)
    # Gradients of the memories that leave every half: its output does not know them, all later halves do.
    nothing = jnp.zeros((2 * rows, *maps.shape[2:4], dout.shape[-1]))
    through = jnp.where(order.continues[..., None, None, None], _by_row(pull_back((dout, nothing))[0]), 0.0)
    left = plan._chain(order, jnp.swapaxes(maps, -1, -2), through, backward=True)
    _, *gradients = pull_back((dout, left.reshape(-1, *left.shape[2:])))
    return None, None, *(x.reshape(rows, -1, *x.shape[2:]) for x in gradients)


_entered_rule.defvjp(_entered_forward, _entered_backward)
