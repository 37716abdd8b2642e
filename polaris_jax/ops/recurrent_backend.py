"""What a recurrent layer does between its projections: by XLA anywhere, by Pallas kernels on TPUs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from polaris_jax.errors import InputError
from polaris_jax.ops.attention_backends import AUTO
from polaris_jax.ops.delta_rule import causal_convolution, gated_delta_rule
from polaris_jax.ops.norm import rms_norm

UNIT = 16  # rows of a row must be a multiple of it for the kernels, widths one of 128


class RecurrentBackend(NamedTuple):
    """The three steps, for one device's rows and heads.

    Attributes:
      short_convolution: ``(x [B, S, C], kernel [K, C], *, widths, segment_ids, state, state_segments) ->
        parts [B, S, width]``.
      delta_rule: as ``delta_rule.gated_delta_rule``.
      gated_norm: ``(x [B, S, H, dv], gate [B, S, H dv], scale [dv], eps) -> [B, S, H dv]`` in the gate's dtype.
    """

    short_convolution: Callable[..., tuple[jax.Array, ...]]
    delta_rule: Callable[..., tuple[jax.Array, jax.Array]]
    gated_norm: Callable[..., jax.Array]


def short_convolution(
    x: jax.Array, kernel: jax.Array, *, widths: tuple[int, ...], **where: Any
) -> tuple[jax.Array, ...]:
    """``silu(causal_convolution(x, kernel))`` in parts of these widths, float32 inside and rounded once."""

    def mixed(x, kernel, where):
        return jax.nn.silu(causal_convolution(x, kernel, **where)[0]).astype(x.dtype)

    edges = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
    return tuple(jnp.split(jax.checkpoint(mixed, prevent_cse=False)(x, kernel, where), edges, axis=-1))


def gated_norm(x: jax.Array, gate: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """``rms_norm(x, scale) * silu(gate)`` of every head, float32 inside and rounded to the gate's dtype once."""

    def normed(x, gate, scale):
        factor = jax.nn.silu(gate.reshape(x.shape).astype(jnp.float32))
        return (rms_norm(x.astype(jnp.float32), scale, eps) * factor).astype(gate.dtype).reshape(gate.shape)

    return jax.checkpoint(normed, prevent_cse=False)(x, gate, scale)


XLA = RecurrentBackend(short_convolution, gated_delta_rule, gated_norm)


def recurrent_backend(mesh: Mesh, implementation: str = AUTO) -> RecurrentBackend:
    """The steps for a device of this mesh.

    Args:
      implementation: as in ``context.context_attention``. The kernels take bfloat16 activations, rows of a multiple of
        16 tokens and heads whose widths are multiples of 128; ``auto`` leaves others to XLA.

    Raises:
      InputError: an unknown implementation.
    """
    device = mesh.devices.flat[0]
    if implementation == "xla" or (implementation == AUTO and device.platform != "tpu"):
        return XLA
    if implementation not in (AUTO, "pallas", "pallas_interpret"):
        raise InputError("implementation", implementation, "choose auto, xla, pallas or pallas_interpret")
    kernels = _kernels(device.device_kind, implementation == "pallas_interpret")
    return kernels if implementation != AUTO else RecurrentBackend(*map(_either, kernels, XLA, _FITS))


def _kernels(chip: str, interpret: bool) -> RecurrentBackend:
    from polaris_jax.ops import delta_rule_tpu, gated_norm_tpu, short_convolution_tpu  # not importable on every host

    def norm(x: jax.Array, gate: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
        return gated_norm_tpu.gated_norm(x.reshape(gate.shape), gate, scale, eps, interpret=interpret)

    return RecurrentBackend(
        functools.partial(short_convolution_tpu.short_convolution, interpret=interpret),
        functools.partial(delta_rule_tpu.gated_delta_rule, chip=chip, interpret=interpret),
        norm,
    )


def _either(kernel: Callable, portable: Callable, fits: Callable[..., bool]) -> Callable:
    return lambda *args, **options: (kernel if fits(*args, **options) else portable)(*args, **options)


_FITS: tuple[Callable[..., bool], ...] = (
    lambda x, kernel, widths, **_: (
        x.dtype == jnp.bfloat16 and x.shape[1] % UNIT == 0 and not any(width % 128 for width in widths)
    ),
    lambda q, k, v, **_: v.dtype == jnp.bfloat16 and q.shape[-1] % 128 == 0 and v.shape[-1] % 128 == 0,
    lambda x, gate, scale, eps: gate.dtype == jnp.bfloat16 and x.shape[1] % UNIT == 0 and x.shape[-1] % 128 == 0,
)
