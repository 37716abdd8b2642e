"""The whole optimizer of a run: clip, then Muon, AdamW or nothing, by group."""

import jax
import jax.numpy as jnp
import optax

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
    shardings=None,
) -> optax.GradientTransformation:
    """Global-norm clipping followed by one transformation per group of ``labels`` (muon, adamw, frozen).

    Args:
      labels: tree of group names from ``label_params``.
      schedule: learning rate by step; AdamW uses ``adamw_scale`` times it.
      state_dtype: of the momenta, AdamW's second one included. clip_norm: None switches clipping off.
      shardings: tree of ``NamedSharding`` of all parameters: Newton-Schulz is dealt out over their mesh.
    """
    groups = {
        "muon": muon(schedule, momentum=momentum, steps=newton_schulz_steps, weight_decay=weight_decay,
                     momentum_dtype=state_dtype, dtype=newton_schulz_dtype, shardings=shardings),
        "adamw": in_float32(optax.adamw(lambda step: adamw_scale * schedule(step), b1=b1, b2=b2,
                                        weight_decay=weight_decay), state_dtype),
        "frozen": optax.set_to_zero(),
    }
    clip = optax.identity() if clip_norm is None else clip_by_global_norm(clip_norm, labels)
    return optax.chain(clip, optax.partition(groups, labels))


def global_norm(tree) -> jax.Array:
    """Root of the sum of squares of all leaves, summed in float32 whatever their dtype."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)))


def clip_by_global_norm(most: float, labels) -> optax.GradientTransformation:
    """Scales all gradients down to a global norm of ``most``; frozen parameters do not count.

    The gradients keep their dtype and are read twice, never held a second time.
    """

    def update(gradients, state, params=None):
        del params
        moving = [g for g, label in zip(jax.tree.leaves(gradients), jax.tree.leaves(labels), strict=True)
                  if label != "frozen"]
        factor = jnp.minimum(1.0, most / jnp.maximum(global_norm(moving), 1e-30))
        return jax.tree.map(lambda g: (g.astype(jnp.float32) * factor).astype(g.dtype), gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def in_float32(inner: optax.GradientTransformation, state_dtype) -> optax.GradientTransformation:
    """``inner`` computing in float32, its floating state stored in ``state_dtype`` between steps."""

    def cast(tree, dtype):
        floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)  # noqa: E731
        return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, tree)

    def init(params):
        return cast(inner.init(params), state_dtype)

    def update(gradients, state, params=None):
        params = None if params is None else cast(params, jnp.float32)
        updates, state = inner.update(cast(gradients, jnp.float32), cast(state, jnp.float32), params)
        return updates, cast(state, state_dtype)

    return optax.GradientTransformation(init, update)
