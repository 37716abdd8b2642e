"""Attention over the mesh as the layers' schedule needs it: forward with what to keep, and backward from what was kept."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from polaris_jax.ops import context
from polaris_jax.ops import ring as ringing
from polaris_jax.ops.tiles import Side, padded_length


@dataclass(frozen=True)
class Mixing:
    forward: Callable
    resume: Callable


def context_mixing(mesh: Mesh, model, block: int, method="ring", group=None, implementation="auto") -> Mixing:
    shards = mesh.shape["context"]
    group = context._group(method, group, shards, model.num_kv_heads)
    executor, options = context._executor(implementation, mesh)
    gather = method == "all_gather"
    scale = model.head_dim**-0.5

    def parts(q, k, v, positions, segments, window):
        q, k, v = (context._exchange(x.transpose(0, 2, 1, 3), group, shards) for x in (q, k, v))
        length = q.shape[2]
        tile, padded = padded_length(length, block, executor.UNIT)
        opts = {**options, "scale": scale, "window": window, "q_block": tile, "kv_block": tile}
        plan = ringing.Ring(shards, group, gather, functools.partial(executor.forward, **opts),
                            functools.partial(executor.backward, **opts), scale)

        def pad(x, axis):
            return jnp.pad(x, [(0, padded - length if a == axis else 0) for a in range(x.ndim)])

        both = context._joined(Side(positions, segments), group)
        mine = jax.lax.axis_index("context") // group
        q_side = Side(*(pad(jax.lax.dynamic_index_in_dim(x, mine, keepdims=False), 1) for x in both))
        kv_sides = Side(*(pad(x, 2) for x in both))
        if gather:
            kv_sides = Side(*(jnp.moveaxis(x, 0, 1).reshape(1, x.shape[1], -1) for x in kv_sides))
        return plan, pad(q, 2), pad(jnp.stack([k, v]), 3), q_side, kv_sides, length

    def finish(out, length):
        return context._exchange_back(out[:, :, :length], group, shards).transpose(0, 2, 1, 3)

    def forward(q, k, v, positions, segments, window):
        plan, q, kv, q_side, kv_sides, length = parts(q, k, v, positions, segments, window)
        out, lse = _forward_keep(plan, q, kv, q_side, kv_sides)
        return finish(out, length), (out, lse)

    def resume(q, k, v, positions, segments, saved, window):
        plan, q, kv, q_side, kv_sides, length = parts(q, k, v, positions, segments, window)
        return finish(_resume(plan, q, kv, q_side, kv_sides, *saved), length)

    return Mixing(forward, resume)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward_keep(plan, q, kv, q_side, kv_sides):
    return _fk(plan, q, kv, q_side, kv_sides)[0]


def _fk(plan, q, kv, q_side, kv_sides):
    saved = ringing._forward(plan, q, kv, q_side, kv_sides)[1]
    # Without the barrier the compiler keeps the float32 state alive and finishes it twice.
    out, lse = jax.lax.optimization_barrier(saved[-2:])
    return (out, lse), (q, kv, q_side, kv_sides, out, lse)


_forward_keep.defvjp(_fk, ringing._backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _resume(plan, q, kv, q_side, kv_sides, out, lse):
    return out


def _resume_forward(plan, q, kv, q_side, kv_sides, out, lse):
    return out, (q, kv, q_side, kv_sides, out, lse)


def _resume_backward(plan, saved, dout):
    return *ringing._backward(plan, saved, (dout, None)), None, None


_resume.defvjp(_resume_forward, _resume_backward)
