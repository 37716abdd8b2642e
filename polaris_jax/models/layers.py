"""The two halves of a block: a token mixer (attention, or the gated delta rule) and the gated MLP.

Each is a function of the config, its own weights ``w`` and the normed activations ``u [B, S, D]``. Weights are cast to
the activation dtype where they are used, so float32 masters run in bfloat16 without a second copy of the model.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import Params
from polaris_jax.ops.linear import linear, shifted
from polaris_jax.ops.norm import rms_norm, zero_centred_rms_norm
from polaris_jax.ops.recurrence import Recurrence
from polaris_jax.ops.rotary import rotate


def project(x: jax.Array, w: jax.Array) -> jax.Array:
    """``x [..., in] @ w [in, out]`` in ``x.dtype``."""
    return linear(x, w)


def recomputed(f: Callable) -> Callable:
    """``f``, elementwise and cheap: its backward pass finds the inputs saved and computes the rest again.

    Writing five arrays of the width of the MLP to memory and reading them back costs more than five multiplications.
    """
    return jax.checkpoint(f, prevent_cse=False)


def norm(config: ModelConfig, x: jax.Array, scale: jax.Array) -> jax.Array:
    """The family's RMS norm over the last axis."""
    normed = zero_centred_rms_norm if config.family.zero_centred_norm else rms_norm
    return recomputed(partial(normed, eps=config.norm_eps))(x, scale)


def mlp(w: Params, u: jax.Array) -> jax.Array:
    """SwiGLU (Shazeer 2020): ``[B, S, D] → [B, S, D]``."""
    gated = recomputed(lambda gate, up: jax.nn.silu(gate) * up)(project(u, w["gate"]), project(u, w["up"]))
    return project(gated, w["down"])


def attention(
    config: ModelConfig, w: Params, u: jax.Array, *, positions: jax.Array, rotation: tuple, attend: Callable
) -> jax.Array:
    """Grouped-query attention with rotary positions.

    Args:
      u: ``[B, S, D]``; positions: ``[B, S] int32`` inside the document; rotation: ``ops.rotary.rotation`` of them.
      attend: ``(q [B, S, H, d], k [B, S, G, d], v) -> [B, S, H, d]``; who sees whom is already bound.
    """
    B, S, _ = u.shape
    q, k, v = (project(u, w[name]) for name in ("q", "k", "v"))
    if config.family.qkv_bias:
        q, k, v = (shifted(x, w[name]) for x, name in ((q, "q_bias"), (k, "k_bias"), (v, "v_bias")))
    q = q.reshape(B, S, config.num_heads, -1)
    k = k.reshape(B, S, config.num_kv_heads, -1)
    v = v.reshape(B, S, config.num_kv_heads, -1)
    if config.family.output_gate:
        q, gate = jnp.split(q, 2, axis=-1)
    if config.family.query_key_norm:
        q, k = norm(config, q, w["q_norm"]), norm(config, k, w["k_norm"])
    q, k = rotate(q, *rotation), rotate(k, *rotation)
    if config.query_scale_beta:
        q = q * query_scale(config, positions).astype(q.dtype)
    out = attend(q, k, v)
    if config.family.output_gate:
        out = out * jax.nn.sigmoid(gate)
    return linear(out.reshape(B, S, -1), w["o"], gradient_first=True)


def query_scale(config: ModelConfig, positions: jax.Array) -> jax.Array:
    """Ministral 3's slow growth of the query with its position: ``[B, S] int32 → [B, S, 1, 1] float32``."""
    periods = (positions // config.query_scale_length).astype(jnp.float32)
    return (1.0 + config.query_scale_beta * jnp.log1p(periods))[..., None, None]


def linear_attention(config: ModelConfig, w: Params, u: jax.Array, recurrence: Recurrence) -> jax.Array:
    """Gated DeltaNet (Yang et al. 2024) as Qwen3.5 uses it: ``[B, S, D] → [B, S, D]``.

    Args:
      recurrence: how tokens reach one another; neither convolution nor memory crosses a change of document.
    """
    B, S, _ = u.shape
    sizes = config.delta_rule
    keys = sizes.key_heads * sizes.key_dim
    widths = (keys, keys, sizes.value_heads * sizes.value_dim)
    q, k, v = recurrence.short_convolution(project(u, w["qkv"]), w["conv"][:, 0], widths)
    beta = jax.nn.sigmoid(project(u, w["b"]).astype(jnp.float32))
    step = project(u, w["a"]).astype(jnp.float32) + w["dt_bias"].astype(jnp.float32)
    log_decay = -jnp.exp(w["A_log"].astype(jnp.float32)) * jax.nn.softplus(step)
    out = recurrence.delta_rule(
        q.reshape(B, S, sizes.key_heads, sizes.key_dim),
        k.reshape(B, S, sizes.key_heads, sizes.key_dim),
        v.reshape(B, S, sizes.value_heads, sizes.value_dim),
        beta,
        log_decay,
    )
    return project(recurrence.gated_norm(out, project(u, w["z"]), w["norm"], config.norm_eps), w["out"])
