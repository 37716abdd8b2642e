"""QK-clip: after a step, scales down the query and key weights of heads whose attention logits grew too large.

Source: MuonClip of "Kimi K2" (arXiv 2507.20534, section 2.1). ``S`` is the largest scaled logit ``q . k / sqrt(d)`` of
a head in the step. With ``gamma = min(1, threshold / S)``, the queries are scaled by ``gamma ** alpha`` and the keys by
``gamma ** (1 - alpha)``, so that the same tokens would now give ``threshold``.

* **Grouped queries.** A key head serves several query heads. It is scaled for the worst of them, and each query head
  gets the rest of its own factor, ``gamma_h / gamma_k ** (1 - alpha)``. So every head's logits shrink by exactly its
  own ``gamma_h``, and heads below the threshold give the same logits as before.
* **Normed queries and keys** (Qwen3). The norm removes any scale of the projections, so the gains of ``q_norm`` and
  ``k_norm`` are scaled instead. All heads of a layer share them, so the layer's largest logit decides for all.
"""

from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.ops import stochastic_round
from polaris_jax.optim.precision import check_recipe, leaf_keys

THRESHOLD = 85.0


def qk_clip(
    recipe: str,
    params: Any,
    max_logits: dict[str, jax.Array],
    key: jax.Array,
    *,
    threshold: float | jax.Array = THRESHOLD,
    alpha: float = 0.5,
    zero_centred_norm: bool = False,
    labels: Any = None,
) -> tuple[Any, dict[str, jax.Array]]:
    """Scales parameters so that attention logits stay below ``threshold``; also returns metrics.

    Args:
      recipe: a recipe of ``precision``. Float32 masters are scaled exactly, bfloat16 weights with stochastic rounding
        (otherwise a factor near one would be lost). Heads below the threshold keep their bits in both cases.
      params: the model's tree; ``params["blocks"][name]["attention"]`` holds ``q [repeats, D, H * d]``,
        ``k [repeats, D, G * d]`` and, in families that have them, ``q_norm`` and ``k_norm [repeats, d]`` or
        ``q_bias [repeats, H * d]`` and ``k_bias [repeats, G * d]``.
      max_logits: per such name ``[repeats, H] float32``, each head's largest logit. Non-finite values count as below
        the threshold, because such a step is skipped, not clipped.
      key: key of the step.
      threshold: a number or a scalar array; infinity switches clipping off (for a skipped step).
      alpha: share of the correction that the queries take, 0 to 1.
      zero_centred_norm: whether gains are stored as their difference from one.
      labels: tree of group names (``groups.label_params``). A layer with a frozen weight among those to scale is not
        changed, but its logits are still reported.

    Returns:
      ``(params, {"qk_max_logit", "qk_clipped_heads", "qk_smallest_factor"})``, float32 scalars over all layers.
    """
    check_recipe(recipe)
    factors = {name: _factor(largest, threshold) for name, largest in max_logits.items()}
    blocks = dict(params["blocks"])
    for name, gamma in factors.items():
        own = jax.random.fold_in(key, int(name))
        attention = blocks[name]["attention"]
        clipped = _clip_layer(recipe, attention, gamma, own, alpha, zero_centred_norm)
        if labels is not None and "frozen" in (labels["blocks"][name]["attention"][part] for part in clipped):
            factors[name] = jnp.ones_like(gamma)
            continue
        blocks[name] = {**blocks[name], "attention": {**attention, **clipped}}
    gammas = jnp.concatenate([gamma.reshape(-1) for gamma in factors.values()])
    largest = jnp.concatenate([value.reshape(-1) for value in max_logits.values()])
    stats = {
        "qk_max_logit": largest.max().astype(jnp.float32),
        "qk_smallest_factor": gammas.min(),
        "qk_clipped_heads": (gammas < 1).sum().astype(jnp.float32),
    }
    return {**params, "blocks": blocks}, stats


def _factor(largest: jax.Array, threshold) -> jax.Array:
    """``gamma [repeats, H]`` in (0, 1]."""
    too_large = jnp.isfinite(largest) & (largest > threshold)
    return jnp.where(too_large, threshold / jnp.where(too_large, largest, 1.0), 1.0).astype(jnp.float32)


def _clip_layer(recipe, attention, gamma, key, alpha, zero_centred_norm):
    """The scaled weights of one stack of attention layers, by name."""
    if "q_norm" in attention:
        worst = gamma.min(axis=1, keepdims=True)
        shift = 1.0 if zero_centred_norm else 0.0
        scales = {"q_norm": worst**alpha, "k_norm": worst ** (1 - alpha)}
    else:
        repeats, heads = gamma.shape
        d = attention["q"].shape[-1] // heads
        shared = gamma.reshape(repeats, attention["k"].shape[-1] // d, -1)  # [repeats, G, H / G]
        keys = shared.min(axis=2, keepdims=True) ** (1 - alpha)
        shift = 0.0
        scales = {"q": _columns(shared / keys, d), "k": _columns(keys, d)}
        biases = {f"{name}_bias": scale[:, 0] for name, scale in scales.items() if f"{name}_bias" in attention}
        scales |= biases  # a bias is part of the query or key
    keys_of = leaf_keys(key, scales)
    return {name: _scale(recipe, attention[name], scale, keys_of[name], shift) for name, scale in scales.items()}


def _columns(scale: jax.Array, d: int) -> jax.Array:
    """A factor per head → per column of a stack of projections: ``[repeats, 1, heads * d]``."""
    return jnp.repeat(scale.reshape(scale.shape[0], 1, -1), d, axis=-1)


def _scale(recipe, weight, scale, key, shift):
    scaled = (weight.astype(jnp.float32) + shift) * scale - shift
    if recipe == "bf16_stochastic" and weight.dtype == jnp.bfloat16:
        scaled = stochastic_round(key, scaled)
    return jnp.where(scale == 1, weight, scaled.astype(weight.dtype))
