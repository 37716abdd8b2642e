"""Where responses are written: the weights of the last update, once per step, in the layout that decoding wants.

A decoded token reads every weight once. Spread as the learner stores them (over ``fsdp``), they would all be gathered
for each token; spread over ``tensor``, each device reads its own part and only activations travel. So after an update
the weights are rounded to the compute dtype and moved once, in one program; they and the caches are let go before the
next update, which needs the memory.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.lora import SplitTable
from polaris_jax.models.weights import table_shardings, table_tree
from polaris_jax.rl.config import RlConfig
from polaris_jax.sharding import MESH_AXES
from polaris_jax.training.state import TrainState


def rollout_mesh(config: RlConfig, model: ModelConfig, mesh: Mesh) -> Mesh | None:
    """The learner's devices as ``data x tensor`` (and ``context`` where rows do not divide); None: one device.

    ``rollout.tensor`` devices hold a copy of the weights together; there are ``data`` such copies, each with its share
    of the ``rollout.slots`` rows.

    Raises:
      InputError: ``rollout.tensor`` does not divide the devices or the key heads.
    """
    axes = rollout_axes(config, model, mesh.size)
    if mesh.size == 1:
        return None
    grid = mesh.devices.reshape([axes[axis] for axis in MESH_AXES])
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def rollout_axes(config: RlConfig, model: ModelConfig, devices: int) -> dict[str, int]:
    """Devices per mesh axis of ``rollout_mesh``."""
    tensor = config.rollout.tensor or math.gcd(devices, model.num_kv_heads)
    for what, count in (("devices", devices), ("key heads", model.num_kv_heads)):
        if count % tensor:
            raise InputError("config.rollout.tensor", tensor, f"must divide the {count} {what}; 0 chooses")
    data = math.gcd(devices // tensor, config.rollout.slots)
    return dict.fromkeys(MESH_AXES, 1) | {"data": data, "tensor": tensor, "context": devices // tensor // data}


class RolloutWeights:
    """Makes the weights that responses are written with from those the learner stores.

    Args:
      mesh: of ``rollout_mesh``.
      split: which weights learn; those that an adapter leaves frozen move as they are.
    """

    def __init__(self, config: RlConfig, mesh: Mesh | None, split: SplitTable):
        exact, compute = table_tree(split.trained, lambda _, row: row.float32), jnp.dtype(config.model.compute_dtype)

        def convert(params: Any, frozen: Any) -> tuple[Any, Any]:
            return jax.tree.map(lambda p, kept: p if kept else p.astype(compute), params, exact), frozen

        tables = (split.trained, split.frozen)
        there = None if mesh is None else tuple(table_shardings(table, mesh) for table in tables)
        self._convert = jax.jit(convert, out_shardings=there)
        self._split = split

    def __call__(self, state: TrainState) -> Any:
        """A copy of the weights in the compute dtype (those kept in float32 stay so), on the rollouts' mesh."""
        return self._split.join(*self._convert(state.params, state.frozen))
