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
from polaris_jax.ops.delta_rule import causal_convolution, gated_delta_rule
from polaris_jax.ops.linear import linear
from polaris_jax.ops.norm import rms_norm, zero_centred_rms_norm
from polaris_jax.ops.rotary import rotate, rotation
from polaris_jax.ops.rowwise import rowwise


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
    q = project(u, w["q"]).reshape(B, S, config.num_heads, -1)
    k = project(u, w["k"]).reshape(B, S, config.num_kv_heads, -1)
    v = project(u, w["v"]).reshape(B, S, config.num_kv_heads, -1)
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


def linear_attention(
    config: ModelConfig,
    w: Params,
    u: jax.Array,
    *,
    segment_ids: jax.Array | None = None,
    state: Params | None = None,
    valid: jax.Array | None = None,
) -> tuple[jax.Array, Params]:
    """Gated DeltaNet (Yang et al. 2024) as Qwen3.5 uses it; reads tokens in storage order.

    Args:
      u: ``[B, S, D]``; segment_ids: ``[B, S] int32``, neither convolution nor memory crosses a change of segment.
      state: what ``cache`` keeps of earlier tokens: ``conv [B, K-1, C]`` and ``memory [B, H, dk, dv] float32``.
      valid: ``[B] int32``, how many leading tokens of each row are real; the others leave the state unchanged.

    Returns:
      ``([B, S, D], state after the last valid token)``.
    """
    B, S, _ = u.shape
    sizes = config.linear
    keys = sizes.key_heads * sizes.key_dim
    mixed, conv_state = causal_convolution(
        project(u, w["qkv"]),
        w["conv"][:, 0],
        segment_ids=segment_ids,
        state=None if state is None else state["conv"],
        valid=valid,
    )
    q, k, v = jnp.split(jax.nn.silu(mixed), (keys, 2 * keys), axis=-1)
    beta = jax.nn.sigmoid(project(u, w["b"])).astype(jnp.float32)
    step = project(u, w["a"]).astype(jnp.float32) + w["dt_bias"].astype(jnp.float32)
    log_decay = -jnp.exp(w["A_log"].astype(jnp.float32)) * jax.nn.softplus(step)
    out, memory = gated_delta_rule(
        q.reshape(B, S, sizes.key_heads, sizes.key_dim),
        k.reshape(B, S, sizes.key_heads, sizes.key_dim),
        v.reshape(B, S, sizes.value_heads, sizes.value_dim),
        beta=beta,
        log_decay=log_decay,
        segment_ids=segment_ids,
        initial=None if state is None else state["memory"],
        valid=valid,
    )
    gate = jax.nn.silu(project(u, w["z"]).reshape(out.shape).astype(jnp.float32))
    out = (rms_norm(out, w["norm"], config.norm_eps) * gate).astype(u.dtype)
    return project(out.reshape(B, S, -1), w["out"]), {"conv": conv_state, "memory": memory}


def block(
    config: ModelConfig,
    w: Params,
    x: jax.Array,
    mix: Callable[[Params, jax.Array], tuple[jax.Array, Params | None]],
    *,
    mlp_chunk: int = 0,
) -> tuple[jax.Array, Params | None]:
    """One pre-norm layer: ``x [B, S, D]`` and the mixer, bound by the caller, to ``(x, the mixer's new state)``.

    Args:
      mlp_chunk: tokens at a time through the feed-forward half; 0: the whole row.
    """
    mixed, state = mix(w, norm(config, x, w["norm_in"]["scale"]))
    w = {"norm": w["norm_post"]["scale"], "mlp": w["mlp"]}
    return rowwise(partial(_feed_forward, config), w, x + mixed, chunk=mlp_chunk), state


def _feed_forward(config: ModelConfig, w: Params, x: jax.Array) -> jax.Array:
    return x + mlp(w["mlp"], norm(config, x, w["norm"]))


def row_mixers(
    config: ModelConfig, positions: jax.Array, segment_ids: jax.Array, attend: Callable
) -> dict[str, Callable]:
    """Per layer type, ``(w, u) -> (mixed, state)`` over whole rows, whose state nobody keeps.

    Args:
      positions, segment_ids: ``[B, S] int32``.
      attend: ``(q, k, v, window=...) -> out``, self-attention over these rows.
    """
    how = {"positions": positions, "rotation": rotation(config.rope, positions)}

    def attention_over(window: int | None):
        seen = partial(attend, window=window)
        return lambda w, u: (attention(config, w["attention"], u, **how, attend=seen), None)

    return {
        "full_attention": attention_over(None),
        "sliding_attention": attention_over(config.sliding_window),
        "linear_attention": lambda w, u: linear_attention(config, w["linear_attention"], u, segment_ids=segment_ids),
    }
