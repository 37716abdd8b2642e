"""What changes from step to step, and where it lives on the mesh."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import abstract_params, param_shardings


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """``step`` int32 scalar (steps done), ``params`` in the stored dtype, ``optimizer`` state.

    There is no random state: every random number of step ``n`` comes from (seed, n).
    """

    step: jax.Array
    params: Any
    optimizer: Any


def abstract_state(model: ModelConfig, optimizer: optax.GradientTransformation, mesh: Mesh, dtype) -> TrainState:
    """The state as ``jax.ShapeDtypeStruct`` with shardings: momenta lie where their parameters lie."""
    params = abstract_params(model, dtype, mesh)
    everywhere = NamedSharding(mesh, P())
    state = jax.eval_shape(optimizer.init, params)

    def masked(leaf):
        return isinstance(leaf, optax.MaskedNode)  # a parameter that belongs to another group

    def place(leaf, sharding):
        return leaf if masked(leaf) else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = optax.tree.map_params(optimizer, place, state, param_shardings(model, mesh),
                                  transform_non_params=lambda leaf: place(leaf, everywhere), is_leaf=masked)
    return TrainState(place(jax.ShapeDtypeStruct((), jnp.int32), everywhere), params, state)


def initial_state(params, optimizer: optax.GradientTransformation, abstract: TrainState) -> TrainState:
    """Step 0 from loaded parameters; momenta are created where they live."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    moments = jax.jit(optimizer.init, out_shardings=shardings.optimizer)(params)
    return TrainState(jax.device_put(jnp.zeros((), jnp.int32), shardings.step), params, moments)
