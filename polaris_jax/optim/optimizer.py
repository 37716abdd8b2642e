"""The whole optimizer of a run: clip, then Muon, AdamW or nothing, by group."""

import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from polaris_jax.optim.muon import muon


def make_optimizer(
    labels,
    schedule: optax.Schedule,
    *,
    adamw_scale: float = 1.0,
    momentum: float = 0.95,
    newton_schulz_steps: int = 5,
    newton_schulz_dtype=None,
    b1: float = 0.9,
    b2: float = 0.95,
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    state_dtype=jnp.float32,
    mesh: Mesh | None = None,
) -> optax.GradientTransformation:
    """Global-norm clipping followed by one transformation per group of ``labels`` (muon, adamw, frozen).

    Args:
      labels: tree of group names from ``label_params``.
      schedule: learning rate by step; AdamW uses ``adamw_scale`` times it.
      state_dtype: of the momenta. clip_norm: None switches clipping off.
    """
    groups = {
        "muon": muon(schedule, momentum=momentum, steps=newton_schulz_steps, weight_decay=weight_decay,
                     momentum_dtype=state_dtype, dtype=newton_schulz_dtype, mesh=mesh),
        "adamw": optax.adamw(lambda step: adamw_scale * schedule(step), b1=b1, b2=b2, weight_decay=weight_decay,
                             mu_dtype=state_dtype),
        "frozen": optax.set_to_zero(),
    }
    clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
    return optax.chain(clip, optax.partition(groups, labels))
