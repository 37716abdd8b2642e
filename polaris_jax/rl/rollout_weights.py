"""The weights for writing responses: those of the last update, moved once per step into the layout for decoding.

Decoding reads every weight once per token. In the learner's layout (over ``fsdp``), all weights would be gathered for
each token. Over ``tensor``, each device reads its own part and only activations are communicated. So after an update
one program rounds the weights to the compute dtype and moves them. They and the caches are freed before the next
update, which needs the memory.
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
    """The learner's devices as ``data x tensor`` (and ``context`` where rows do not divide); None for one device.

    ``rollout.tensor`` devices together hold one copy of the weights. There are ``data`` copies, each with its share of
    the ``rollout.slots`` rows.

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
    """Converts the learner's weights to those that write responses.

    Args:
      mesh: from ``rollout_mesh``.
      split: which weights are trained; weights that an adapter leaves frozen are moved unchanged.
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
        """A copy of the weights on the rollouts' mesh in the compute dtype (weights kept in float32 stay float32)."""
        return self._split.join(*self._convert(state.params, state.frozen))
