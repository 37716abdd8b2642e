"""The training state, and where each array lives on the mesh."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.lora import SplitTable, split_table
from polaris_jax.models.weights import abstract_tree, table_shardings


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """``step`` int32 scalar (steps done), ``params`` in the stored dtype, ``optimizer`` state.

    ``frozen`` are the weights that an adapter leaves as they are: without gradients, momenta or a place in checkpoints,
    since they are those of ``model.path``. Without an adapter there are none.

    There is no random state: every random number of step ``n`` comes from (seed, n).
    """

    step: jax.Array
    params: Any
    optimizer: Any
    frozen: Any = field(default_factory=dict)


def abstract_state(
    model: ModelConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    dtype: DTypeLike,
    split: SplitTable | None = None,
    frozen_dtype: DTypeLike = jnp.float32,
) -> TrainState:
    """The state as ``jax.ShapeDtypeStruct`` with shardings: momenta lie where their parameters lie.

    Args:
      split: which weights learn; default all. frozen_dtype: of the others, where they are not quantised.
    """
    split = split or split_table(model, None)
    params = abstract_tree(split.trained, dtype, mesh)
    everywhere = NamedSharding(mesh, P())
    state = jax.eval_shape(optimizer.init, params)

    def masked(leaf):
        return isinstance(leaf, optax.MaskedNode)  # a parameter that belongs to another group

    def place(leaf, sharding):
        return leaf if masked(leaf) else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = optax.tree.map_params(
        optimizer,
        place,
        state,
        table_shardings(split.trained, mesh),
        transform_non_params=lambda leaf: place(leaf, everywhere),
        is_leaf=masked,
    )
    frozen = abstract_tree(split.frozen, frozen_dtype, mesh)
    return TrainState(place(jax.ShapeDtypeStruct((), jnp.int32), everywhere), params, state, frozen)


def initial_state(
    params: Any, optimizer: optax.GradientTransformation, abstract: TrainState, frozen: Any = None
) -> TrainState:
    """Step 0 from loaded parameters; momenta are created in their place on the mesh."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    moments = jax.jit(optimizer.init, out_shardings=shardings.optimizer)(params)
    return TrainState(jax.device_put(jnp.zeros((), jnp.int32), shardings.step), params, moments, frozen or {})
