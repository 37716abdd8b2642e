"""The optimizer of a run: skips non-finite steps, clips, then applies Muon, AdamW or nothing, by group."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from polaris_jax.errors import InputError
from polaris_jax.optim.muon import Split, muon
from polaris_jax.optim.nonfinite import skip_nonfinite
from polaris_jax.optim.norms import global_norm


def make_optimizer(
    labels: Any,
    schedule: optax.Schedule,
    *,
    adamw_scale: float = 1.0,
    momentum: float = 0.95,
    newton_schulz_steps: int = 5,
    newton_schulz_dtype: DTypeLike | None = None,
    b1: float = 0.9,
    b2: float = 0.95,
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    state_dtype: DTypeLike = jnp.float32,
    shardings: Any = None,
    splits: Sequence[tuple[str, Split]] = (),
) -> optax.GradientTransformation:
    """Global-norm clipping followed by one transformation per group of ``labels`` (muon, adamw, frozen).

    Steps with non-finite gradients change nothing (``nonfinite``); the state's ``total`` and ``consecutive`` count
    them.

    Args:
      labels: tree of group names from ``label_params``.
      schedule: learning rate by step; AdamW uses ``adamw_scale`` times this rate.
      state_dtype: dtype of the momenta, including AdamW's second one. clip_norm: None switches clipping off.
      shardings: tree of ``NamedSharding`` of all parameters; Newton-Schulz distributes the matrices over their mesh.
      splits: weights whose blocks Muon orthogonalises separately, e.g. ``muon.attention_splits(...)``.

    Raises:
      InputError: a decay too slow for a bfloat16 average: every change would be rounded away.
    """
    for name, decay in (("momentum", momentum), ("b1", b1), ("b2", b2)):
        if jnp.dtype(state_dtype) == jnp.bfloat16 and 1 - decay < 2**-7:  # twice half a unit in the last place of 1
            raise InputError(
                f"config.optim.{name}",
                decay,
                "a bfloat16 average stands still at such a decay; take at most 0.99, or float32 state",
            )
    groups = {
        "muon": muon(
            schedule,
            momentum=momentum,
            steps=newton_schulz_steps,
            weight_decay=weight_decay,
            momentum_dtype=state_dtype,
            dtype=newton_schulz_dtype,
            shardings=shardings,
            splits=splits,
        ),
        "adamw": in_float32(
            optax.adamw(lambda step: adamw_scale * schedule(step), b1=b1, b2=b2, weight_decay=weight_decay), state_dtype
        ),
        "frozen": optax.set_to_zero(),
    }
    clip = optax.identity() if clip_norm is None else clip_by_global_norm(clip_norm, labels, shardings)
    return skip_nonfinite(optax.chain(clip, optax.partition(groups, labels)), partial(_moving_norm, labels, shardings))


def _moving_norm(labels, shardings, gradients) -> jax.Array:
    """The global norm without frozen parameters."""

    def moving(tree):
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(labels), strict=True)
        return [leaf for leaf, label in pairs if label != "frozen"]

    return global_norm(moving(gradients), None if shardings is None else moving(shardings))


def clip_by_global_norm(most: float, labels: Any, shardings: Any = None) -> optax.GradientTransformation:
    """Scales all gradients down to a global norm of ``most``; frozen parameters do not count.

    The gradients keep their dtype. They are read twice but not copied.
    """

    def update(gradients, state, params=None):
        del params
        factor = jnp.minimum(1.0, most / jnp.maximum(_moving_norm(labels, shardings, gradients), 1e-30))
        return jax.tree.map(lambda g: (g.astype(jnp.float32) * factor).astype(g.dtype), gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def in_float32(inner: optax.GradientTransformation, state_dtype: DTypeLike) -> optax.GradientTransformation:
    """``inner`` computed in float32, with its floating-point state stored in ``state_dtype`` between steps."""

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
