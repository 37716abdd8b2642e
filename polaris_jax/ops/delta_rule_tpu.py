"""The gated delta rule on TPU: ``delta_rule.gated_delta_rule`` with its chunks as two Pallas kernels.

Products are bfloat16 with float32 sums; decays, lengths and the memory are float32. The kernels read queries, keys and
values as the projections leave them, tokens by heads side by side, so nothing is transposed around them. Grid steps go
over chunks of some heads at a time; where a chip has two TensorCores the heads are dealt to both.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from polaris_jax.ops.delta_rule_tpu_backward import backward_kernel
from polaris_jax.ops.delta_rule_tpu_forward import forward_kernel
from polaris_jax.ops.delta_rule_tpu_parts import LOG2E, Shape
from polaris_jax.ops.tile_tpu_table import kernels_of


class Sizes(NamedTuple):
    """Tokens of a chunk, and value heads of a grid step at most."""

    chunk: int
    heads: int


# By ``benchmarks/delta_rule_schedule.py``, on every chip. Chunks of 128 are a fifth faster on v6e, and round more than
# 2.5 % of the output away where keys are nearly equal.
SIZES = Sizes(64, 16)


def gated_delta_rule(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    beta: jax.Array,
    log_decay: jax.Array,
    segment_ids: jax.Array | None = None,
    initial: jax.Array | None = None,
    valid: jax.Array | None = None,
    chip: str = "TPU v5p",
    sizes: Sizes = SIZES,
    interpret: Any = False,
) -> tuple[jax.Array, jax.Array]:
    """As ``delta_rule.gated_delta_rule``, differentiable in all but ``segment_ids`` and ``valid``.

    Args:
      q, k, v: rounded to bfloat16 first; widths of heads are multiples of 128.
      chip: as JAX names the device (``device_kind``). sizes: of a grid step.
      interpret: run the kernels on any host; True, or ``pltpu.InterpretParams``.
    """
    B, S, N, dk = q.shape
    H, dv = v.shape[2:]
    shape = shape_of(B, S, N, H, dk, dv, chip, sizes)
    padding = shape.chunks * shape.chunk - S
    beta, log_decay = beta.astype(jnp.float32), log_decay.astype(jnp.float32)
    if valid is not None:
        real = jnp.arange(S)[None, :, None] < valid[:, None, None]
        beta, log_decay = jnp.where(real, beta, 0.0), jnp.where(real, log_decay, 0.0)
    segments = jnp.ones((B, S), jnp.int32) if segment_ids is None else segment_ids
    # Padding writes nothing and continues the last document, so that its memory survives to the end.
    segments = jnp.pad(segments, ((0, 0), (0, padding)), mode="edge")
    rows = lambda x: jnp.pad(x, ((0, 0), (0, padding), (0, 0)))  # noqa: E731
    flat = lambda x: rows(x.astype(jnp.bfloat16).reshape(B, S, -1))  # noqa: E731
    memory = jnp.zeros((B, H, dk, dv), jnp.float32) if initial is None else initial.astype(jnp.float32)
    # [B, N, R, dk, dv] -> [B, N, dk, R dv]: heads that share a key head side by side
    memory = memory.reshape(B, N, H // N, dk, dv).swapaxes(2, 3).reshape(B, N, dk, -1)
    out, memory = _rule(shape, interpret, flat(q), flat(k), flat(v), rows(beta), rows(log_decay), memory, segments)
    memory = memory.reshape(B, N, dk, H // N, dv).swapaxes(2, 3).reshape(B, H, dk, dv)
    return out[:, :S].reshape(B, S, H, dv).astype(v.dtype), memory


def shape_of(
    rows: int, tokens: int, keys: int, values: int, key_dim: int, value_dim: int, chip: str, sizes: Sizes
) -> Shape:
    """How a call of so many rows, tokens, key heads and value heads is cut."""
    group = values // keys
    at_once = key_heads_at_once(keys, group, rows, sizes.heads, kernels_of(chip).cores)
    return Shape(sizes.chunk, -(-tokens // sizes.chunk), at_once, group, key_dim, value_dim)


def key_heads_at_once(keys: int, group: int, rows: int, most: int, cores: int) -> int:
    """Key heads of a grid step: at most ``most`` value heads and, where that is possible, equal work for all cores."""
    fit = [n for n in range(1, keys + 1) if keys % n == 0 and (n == 1 or n * group <= most)]
    fair = [n for n in fit if rows * (keys // n) % cores == 0]
    return max(fair or fit)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rule(shape, interpret, q, k, v, beta, log_decay, memory, segments):
    """Of whole chunks and flat heads; ``(o [B, S, H dv] bfloat16, memory [B, N, dk, R dv] float32)``."""
    columns, rows = _token_numbers(shape, beta, log_decay, segments)
    return tuple(forward_kernel(q, k, v, columns, rows, memory, shape=shape, keep=False, interpret=interpret))


def _rule_forward(shape, interpret, q, k, v, beta, log_decay, memory, segments):
    columns, rows = _token_numbers(shape, beta, log_decay, segments)
    o, memory, states, inverse = forward_kernel(
        q, k, v, columns, rows, memory, shape=shape, keep=True, interpret=interpret
    )
    return (o, memory), (q, k, v, beta, log_decay, segments, states, inverse)


def _rule_backward(shape, interpret, residuals, gradients):
    q, k, v, beta, log_decay, segments, states, inverse = residuals
    do, dmemory = gradients
    columns, rows = _token_numbers(shape, beta, log_decay, segments)
    dq, dk, dv, dcolumns, drows, dinitial = backward_kernel(
        q, k, v, columns, rows, states, inverse, do, dmemory, shape=shape, interpret=interpret
    )
    B, S, H = beta.shape
    ddecay, dbeta = (_together(x) for x in jnp.split(dcolumns, 2, axis=3))
    ddecay += drows.transpose(0, 2, 4, 1, 3).reshape(B, S, H)
    chunks = ddecay.reshape(B, shape.chunks, shape.chunk, H)  # of sums from the chunk's start
    dlog_decay = jnp.flip(jnp.cumsum(jnp.flip(chunks, 2), axis=2), 2).reshape(B, S, H)
    return dq, dk, dv, dbeta, dlog_decay, dinitial, None


_rule.defvjp(_rule_forward, _rule_backward)


def _token_numbers(shape: Shape, beta, log_decay, segments) -> tuple[jax.Array, jax.Array]:
    """The kernels' ``columns`` and ``rows``; ``beta, log_decay [B, S, H]``, ``segments [B, S]``."""
    B, S, H = beta.shape
    in_chunks = (B, shape.chunks, shape.chunk)
    decay = jnp.cumsum(log_decay.reshape(*in_chunks, H), axis=2)
    segments = segments.reshape(in_chunks)
    # The given memory belongs to the first token's document.
    owner = jnp.concatenate([segments[:, :1, 0], segments[:, :-1, -1]], axis=1)
    enter = jnp.where((segments == owner[..., None])[..., None], jnp.exp(decay), 0.0)
    stays = (segments == segments[:, :, -1:])[..., None]
    leave = jnp.where(stays, jnp.exp(decay[:, :, -1:] - decay), 0.0)
    changed = segments[:, :, 1:] != segments[:, :, :-1]
    document = jnp.pad(jnp.cumsum(changed, axis=2), ((0, 0), (0, 0), (1, 0))).astype(jnp.float32)
    groups = H // shape.values

    def apart(x):  # [B, chunks, C, H] -> [B, groups, S, values]
        return x.reshape(B, S, groups, shape.values).swapaxes(1, 2)

    decay = decay * LOG2E
    every = jnp.broadcast_to(document.reshape(B, 1, S, 1), (B, groups, S, 1))
    columns = jnp.concatenate([*map(apart, (decay, beta, enter, leave)), every], axis=3)
    by_group = decay.reshape(*in_chunks, groups, shape.values).transpose(0, 3, 1, 4, 2)
    every = jnp.broadcast_to(document[:, None, :, None], (B, groups, shape.chunks, 1, shape.chunk))
    return columns, jnp.concatenate([by_group, every], axis=3)


def _together(x: jax.Array) -> jax.Array:
    """``[B, groups, S, values] → [B, S, H]``."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)
