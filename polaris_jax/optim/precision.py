"""Three recipes for weights: the stored dtype, the weights used in computation, and the write-back of an update.

| recipe | stored | computed with | write-back |
|---|---|---|---|
| ``fp32_master`` | float32 | nearest copy in the compute dtype | exact |
| ``stochastic_downcast`` | float32 | bfloat16 copy, LR-scaled stochastic rounding (arXiv 2605.17064) | exact |
| ``bf16_stochastic`` | bfloat16 | the stored weights | stochastic rounding (arXiv 2502.20566) |

Random bits come from (key of the step, index of the leaf), so they are reproducible and equal on any mesh.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from polaris_jax.errors import InputError
from polaris_jax.ops import stochastic_round
from polaris_jax.ops.rounding import scaled_stochastic_round

RECIPES = ("fp32_master", "stochastic_downcast", "bf16_stochastic")


def check_recipe(recipe: str) -> str:
    """Returns ``recipe``, or raises an ``InputError`` that names the three."""
    if recipe not in RECIPES:
        raise InputError("config.optim.precision", recipe, f"choose one of {', '.join(RECIPES)}")
    return recipe


def stored_dtype(recipe: str) -> jnp.dtype:
    """The dtype in which parameters are stored between steps."""
    return jnp.dtype(jnp.bfloat16 if check_recipe(recipe) == "bf16_stochastic" else jnp.float32)


def leaf_keys(key: jax.Array, tree: Any) -> Any:
    """A tree like ``tree`` with a different key for every leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [jax.random.fold_in(key, number) for number in range(len(leaves))])


def working_copy(
    recipe: str,
    params: Any,
    key: jax.Array,
    lr_fraction: float | jax.Array,
    compute_dtype: DTypeLike,
    exact: Any = None,
) -> Any:
    """The weights the forward pass uses.

    Args:
      key: key of this step. lr_fraction: ``lr / peak lr``, float32 scalar in [0, 1].
      compute_dtype: dtype of the copy in ``fp32_master`` (float32 or bfloat16); other recipes compute in bfloat16.
      exact: tree of bool like ``params``; where True, the float32 weight itself is used (``Weight.float32``).
    """
    if check_recipe(recipe) == "bf16_stochastic":
        return params
    exact = jax.tree.map(lambda _: False, params) if exact is None else exact
    if recipe == "fp32_master":
        return jax.tree.map(lambda p, kept: p if kept else p.astype(compute_dtype), params, exact)
    share = jnp.asarray(lr_fraction)
    return jax.tree.map(
        lambda p, k, kept: p if kept else scaled_stochastic_round(k, p, share), params, leaf_keys(key, params), exact
    )


def apply_updates(recipe: str, params: Any, updates: Any, key: jax.Array) -> Any:
    """Parameters after the step, each in its own dtype; ``updates`` are float32.

    Weights that a model always keeps in float32 are written exactly.
    """
    if check_recipe(recipe) != "bf16_stochastic":
        return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)

    def write(p, u, k):
        moved = p.astype(jnp.float32) + u.astype(jnp.float32)
        return stochastic_round(k, moved) if p.dtype == jnp.bfloat16 else moved

    return jax.tree.map(write, params, updates, leaf_keys(key, params))
