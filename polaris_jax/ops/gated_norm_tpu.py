"""The norm and gate behind the delta rule on TPU: each pass reads and writes once, heads side by side as they come."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

TOKENS, CHANNELS = 256, 512  # of a block at most; one head is never cut
EDGE = 16


def gated_norm(x: jax.Array, gate: jax.Array, scale: jax.Array, eps: float, *, interpret: Any = False) -> jax.Array:
    """``rms_norm(x, scale) * silu(gate)`` of every head, float32 inside and rounded once.

    Args:
      x, gate: ``[B, S, H dv]``, rounded to bfloat16; ``S`` a multiple of 16, ``dv`` of 128. scale: ``[dv]``.

    Returns:
      ``[B, S, H dv] bfloat16``.
    """
    return _gated_norm(eps, interpret, x.astype(jnp.bfloat16), gate.astype(jnp.bfloat16), scale)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gated_norm(eps, interpret, x, gate, scale):
    return _call(_forward_kernel, "gated_norm_forward", x, (gate,), scale, eps, interpret)[0]


def _gated_norm_forward(eps, interpret, *arrays):
    return _gated_norm(eps, interpret, *arrays), arrays


def _gated_norm_backward(eps, interpret, arrays, dy):
    x, gate, scale = arrays
    dx, dgate, dscale = _call(_backward_kernel, "gated_norm_backward", x, (gate, dy), scale, eps, interpret)
    return dx, dgate, dscale[0].reshape(-1, scale.shape[0]).sum(axis=0).astype(scale.dtype)


_gated_norm.defvjp(_gated_norm_forward, _gated_norm_backward)


def _unit(x: jax.Array, eps: float) -> tuple[jax.Array, jax.Array]:
    """``x`` at unit root mean square, and what it was multiplied by."""
    scale = jax.lax.rsqrt(jnp.mean(x * x, axis=1, keepdims=True) + eps)
    return x * scale, scale


def _heads(x, width):
    return [slice(at, at + width) for at in range(0, x.shape[2], width)]


def _forward_kernel(x, gate, scale, y, *, eps):
    for at in _heads(x, scale.shape[1]):
        unit, _ = _unit(x[0, :, at].astype(jnp.float32), eps)
        z = gate[0, :, at].astype(jnp.float32)
        y[0, :, at] = (unit * scale[...] * (z * jax.nn.sigmoid(z))).astype(y.dtype)


def _backward_kernel(x, gate, dy, scale, dx, dgate, dscale, *, eps):
    @pl.when((pl.program_id(1) == 0) & (pl.program_id(2) == 0))
    def _():
        dscale[...] = jnp.zeros_like(dscale)

    for at in _heads(x, scale.shape[1]):
        unit, factor = _unit(x[0, :, at].astype(jnp.float32), eps)
        z, arriving = gate[0, :, at].astype(jnp.float32), dy[0, :, at].astype(jnp.float32)
        sigmoid = jax.nn.sigmoid(z)
        gated = arriving * (z * sigmoid)
        dgate[0, :, at] = (arriving * unit * scale[...] * (sigmoid * (1.0 + z * (1.0 - sigmoid)))).astype(dgate.dtype)
        dscale[:1, at] += jnp.sum(gated * unit, axis=0, keepdims=True)
        dunit = gated * scale[...]
        along = jnp.mean(dunit * unit, axis=1, keepdims=True)
        dx[0, :, at] = (factor * (dunit - unit * along)).astype(dx.dtype)


def _call(kernel, name, x, others, scale, eps, interpret):
    B, S, width = x.shape
    dv = scale.shape[0]
    T = max(n for n in range(EDGE, min(TOKENS, S) + 1, EDGE) if S % n == 0)
    C = max(math.gcd(width, CHANNELS) // dv * dv, dv)
    block = pl.BlockSpec((1, T, C), lambda c, b, i: (b, i, c))
    out_specs, out_shape = [block], [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16)]
    if len(others) > 1:
        out_specs += [block, pl.BlockSpec((8, C), lambda c, b, i: (0, c))]
        out_shape += [out_shape[0], jax.ShapeDtypeStruct((8, width), jnp.float32)]
    tokens = "parallel" if len(others) == 1 else "arbitrary"
    return pl.pallas_call(
        functools.partial(kernel, eps=eps),
        grid=(width // C, B, S // T),
        in_specs=[block, *(block for _ in others), pl.BlockSpec((1, dv), lambda c, b, i: (0, 0))],
        out_specs=out_specs,
        out_shape=out_shape,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", tokens, tokens)),
        cost_estimate=pl.CostEstimate(
            flops=20 * x.size, transcendentals=x.size, bytes_accessed=2 * x.size * (2 * len(others) + 1)
        ),
        interpret=interpret,
        name=name,
    )(x, *others, scale.astype(jnp.float32)[None])
