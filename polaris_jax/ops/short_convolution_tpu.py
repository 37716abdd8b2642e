"""The short causal convolution before the delta rule and its activation on TPU: each pass reads and writes once.

Queries, keys and values come out apart, as the delta rule's kernels read them, and their gradients go back into one
array. A grid step is a block of tokens and channels, with the sixteen rows before it (and after it, in the backward
pass) beside it.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

EDGE = 16  # rows of a bfloat16 tile: what a block takes from its neighbours
LANES = 128
TOKENS, CHANNELS = 256, 512  # of a block at most


def short_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    widths: tuple[int, ...],
    segment_ids: jax.Array | None = None,
    state: jax.Array | None = None,
    state_segments: jax.Array | None = None,
    interpret: Any = False,
) -> tuple[jax.Array, ...]:
    """``silu(delta_rule.causal_convolution(x, kernel))`` in parts of these widths; sums and activation in float32.

    Args:
      x: ``[B, S, C]``, rounded to bfloat16; ``S`` a multiple of 16. kernel: ``[K, C]``, K at most 16.
      widths: add up to ``C``; multiples of 128.
      segment_ids, state: as in ``causal_convolution``.
      state_segments: ``[B, K-1] int32``, of the inputs before ``x``; default: with ``segment_ids``, none that is in
        ``x``.

    Returns:
      ``[B, S, width] bfloat16`` each.
    """
    B, S, C = x.shape
    K = kernel.shape[0]
    before = jnp.zeros((B, K - 1, C), jnp.bfloat16) if state is None else state.astype(jnp.bfloat16)
    before = jnp.pad(before, ((0, 0), (EDGE - K + 1, 0), (0, 0)))
    if segment_ids is None:
        reach = jnp.full((B, S), K - 1, jnp.int32)
    else:
        if state_segments is None:
            state_segments = jnp.full((B, K - 1), -1, segment_ids.dtype)
        owners = jnp.concatenate([state_segments, segment_ids], axis=1)
        same = [owners[:, K - 1 - lag : K - 1 - lag + S] == segment_ids for lag in range(1, K)]
        reach = jnp.sum(jnp.cumprod(jnp.stack(same).astype(jnp.int32), axis=0), axis=0)
    return _convolve(widths, interpret, x.astype(jnp.bfloat16), kernel, before, reach[..., None])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolve(widths, interpret, x, kernel, before, reach):
    return tuple(
        _forward_call(x, kernel, before, reach, start=sum(widths[:part]), widths=widths, part=part, interpret=interpret)
        for part in range(len(widths))
    )


def _convolve_forward(widths, interpret, *arrays):
    return _convolve(widths, interpret, *arrays), arrays


def _convolve_backward(widths, interpret, arrays, gradients):
    x, kernel, before, reach = arrays
    dx, dkernel, dbefore = None, [], []
    for part, dy in enumerate(gradients):
        dx, dw, dedge = _backward_call(
            x, kernel, before, reach, dy, dx, start=sum(widths[:part]), widths=widths, interpret=interpret
        )
        dkernel.append(dw[: kernel.shape[0]])
        dbefore.append(dedge)
    dbefore = jnp.concatenate(dbefore, axis=2).astype(before.dtype)
    return dx, jnp.concatenate(dkernel, axis=1).astype(kernel.dtype), dbefore, None


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _blocks(tokens: int, widths: tuple[int, ...]) -> tuple[int, int]:
    """Tokens and channels of a block: divisors of the row and of every part."""
    rows = max(n for n in range(EDGE, min(TOKENS, tokens) + 1, EDGE) if tokens % n == 0)
    return rows, math.gcd(CHANNELS, *widths)


def _strips(channels: int):
    return [slice(at, at + LANES) for at in range(0, channels, LANES)]


def _taps(rows: jax.Array, kernel: jax.Array, reach: jax.Array) -> list[jax.Array]:
    """What each tap adds to all but the first 16 of ``rows``; reversed in the kernel: tap 0 is the last row's."""
    K = kernel.shape[0]
    return [
        jnp.where(reach >= lag, pltpu.roll(rows, lag, 0)[EDGE:], 0.0) * kernel[K - 1 - lag : K - lag]
        for lag in range(K)
    ]


def _forward_kernel(edge, x, before, kernel, reach, y):
    first = pl.program_id(2) == 0
    for at in _strips(x.shape[2]):
        ahead = jnp.where(first, before[0, :, at].astype(jnp.float32), edge[0, :, at].astype(jnp.float32))
        rows = jnp.concatenate([ahead, x[0, :, at].astype(jnp.float32)], axis=0)
        total = sum(_taps(rows, kernel[:, at], reach[0]))
        y[0, :, at] = (total * jax.nn.sigmoid(total)).astype(y.dtype)


def _forward_call(x, kernel, before, reach, *, start, widths, part, interpret):
    (B, S, _), width = x.shape, widths[part]
    T, C = _blocks(S, widths)
    at, edges = start // C, T // EDGE
    return pl.pallas_call(
        _forward_kernel,
        grid=(B, width // C, S // T),
        in_specs=[
            pl.BlockSpec((1, EDGE, C), lambda b, c, i: (b, jnp.maximum(i * edges - 1, 0), at + c)),
            pl.BlockSpec((1, T, C), lambda b, c, i: (b, i, at + c)),
            pl.BlockSpec((1, EDGE, C), lambda b, c, i: (b, 0, at + c)),
            pl.BlockSpec((kernel.shape[0], C), lambda b, c, i: (0, at + c)),
            pl.BlockSpec((1, T, 1), lambda b, c, i: (b, i, 0)),
        ],
        out_specs=pl.BlockSpec((1, T, C), lambda b, c, i: (b, i, c)),
        out_shape=jax.ShapeDtypeStruct((B, S, width), jnp.bfloat16),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel")),
        cost_estimate=_cost(B * S * width, 2),
        interpret=interpret,
        name="short_convolution_forward",
    )(x, x, before, kernel.astype(jnp.float32), reach)


def _backward_kernel(edge, x, after, before, kernel, reach, reach_after, dy, dy_after, *refs):
    dx, dkernel, dbefore = refs[-3:]
    b, i, T, K = pl.program_id(1), pl.program_id(2), x.shape[1], kernel.shape[0]
    last = i == pl.num_programs(2) - 1

    @pl.when((b == 0) & (i == 0))
    def _():
        dkernel[...] = jnp.zeros_like(dkernel)

    reaches = jnp.concatenate([reach[0], reach_after[0]], axis=0)
    for at in _strips(x.shape[2]):
        wide = lambda ref, at=at: ref[0, :, at].astype(jnp.float32)  # noqa: E731
        ahead = jnp.where(i == 0, wide(before), wide(edge))
        rows = jnp.concatenate([ahead, wide(x), wide(after)], axis=0)  # [16 + T + 16]
        total = sum(_taps(rows, kernel[:, at], reaches))
        gate = jax.nn.sigmoid(total)
        arriving = jnp.concatenate([wide(dy), jnp.where(last, 0.0, wide(dy_after))], axis=0)
        dtotal = arriving * (gate * (1.0 + total * (1.0 - gate)))  # [T + 16]
        into = jnp.zeros((2 * EDGE + T, LANES), jnp.float32)
        for lag in range(K):
            seen = jnp.where(reaches >= lag, dtotal, 0.0)
            tap = jnp.sum(seen[:T] * pltpu.roll(rows, lag, 0)[EDGE : EDGE + T], axis=0, keepdims=True)
            dkernel[K - 1 - lag : K - lag, at] += tap
            reached = jnp.concatenate([jnp.zeros((EDGE, LANES), jnp.float32), seen], axis=0)
            back = pltpu.roll(reached, (2 * EDGE + T - lag) % (2 * EDGE + T), 0)
            into += back * kernel[K - 1 - lag : K - lag, at]
        dx[0, :, at] = into[EDGE : EDGE + T].astype(dx.dtype)

        @pl.when(i == 0)
        def _(at=at, into=into):
            dbefore[0, :, at] = into[:EDGE]


def _backward_call(x, kernel, before, reach, dy, dx, *, start, widths, interpret):
    """Adds a part to ``dx`` (None: the first), and gives its ``[8, width]`` of the kernel and ``[B, 16, width]``."""
    B, S, _ = x.shape
    T, C = _blocks(S, widths)
    at, edges, end = start // C, T // EDGE, S // EDGE - 1
    K = kernel.shape[0]
    after = lambda b, i: (b, jnp.minimum((i + 1) * edges, end))  # noqa: E731
    in_place = [] if dx is None else [dx]
    return pl.pallas_call(
        _backward_kernel,
        grid=(dy.shape[2] // C, B, S // T),
        in_specs=[
            pl.BlockSpec((1, EDGE, C), lambda c, b, i: (b, jnp.maximum(i * edges - 1, 0), at + c)),
            pl.BlockSpec((1, T, C), lambda c, b, i: (b, i, at + c)),
            pl.BlockSpec((1, EDGE, C), lambda c, b, i: (*after(b, i), at + c)),
            pl.BlockSpec((1, EDGE, C), lambda c, b, i: (b, 0, at + c)),
            pl.BlockSpec((K, C), lambda c, b, i: (0, at + c)),
            pl.BlockSpec((1, T, 1), lambda c, b, i: (b, i, 0)),
            pl.BlockSpec((1, EDGE, 1), lambda c, b, i: (*after(b, i), 0)),
            pl.BlockSpec((1, T, C), lambda c, b, i: (b, i, c)),
            pl.BlockSpec((1, EDGE, C), lambda c, b, i: (*after(b, i), c)),
            *(pl.BlockSpec(memory_space=pl.ANY) for _ in in_place),
        ],
        out_specs=[
            pl.BlockSpec((1, T, C), lambda c, b, i: (b, i, at + c)),
            pl.BlockSpec((EDGE, C), lambda c, b, i: (0, c)),
            pl.BlockSpec((1, EDGE, C), lambda c, b, i: (b, 0, c)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct(x.shape, jnp.bfloat16),
            jax.ShapeDtypeStruct((EDGE, dy.shape[2]), jnp.float32),
            jax.ShapeDtypeStruct((B, EDGE, dy.shape[2]), jnp.float32),
        ],
        input_output_aliases={9: 0} if in_place else {},
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary", "arbitrary")),
        cost_estimate=_cost(dy.size, 3),
        interpret=interpret,
        name="short_convolution_backward",
    )(x, x, x, before, kernel.astype(jnp.float32), reach, reach, dy, dy, *in_place)


def _cost(elements: int, arrays: int) -> pl.CostEstimate:
    return pl.CostEstimate(flops=20 * elements, transcendentals=elements, bytes_accessed=2 * arrays * elements)
