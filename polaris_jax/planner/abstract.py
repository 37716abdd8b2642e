"""The real train step over devices that need not exist: model, state and batch as shapes with shardings."""

import json

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from polaris_jax.optim import make_schedule, stored_dtype
from polaris_jax.sharding import make_mesh
from polaris_jax.training import loop
from polaris_jax.training.config import default_config, flatten
from polaris_jax.training.state import abstract_state
from polaris_jax.training.step import make_train_step

BATCH = {"tokens": jnp.int32, "targets": jnp.int32, "weights": jnp.float32, "roles": jnp.int32, "kinds": jnp.int32,
         "segment_ids": jnp.int32, "positions": jnp.int32}


def lower_step(config: ConfigDict, devices) -> jax.stages.Lowered:
    """``training.make_train_step`` of ``config`` lowered for ``devices`` (attached, or described by a topology)."""
    model = loop.read_model(config.model.path, shape_only=True)
    mesh = make_mesh(config.mesh, devices=devices)
    dtype = stored_dtype(config.optim.precision)
    schedule = make_schedule(config.optim.schedule, config.optim.learning_rate, config.train.steps,
                             config.optim.warmup)
    optimizer, _ = loop.optimizer_of(config, model, mesh, schedule, dtype)
    state = abstract_state(model, optimizer, mesh, dtype)
    rows = NamedSharding(mesh, P(("data", "fsdp"), "context"))
    shape = (config.data.batch_size, config.data.window)
    batch = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=rows) for name, dtype in BATCH.items()}
    return make_train_step(config, model, mesh, optimizer, schedule).lower(state, batch)


def to_rows(config: ConfigDict) -> dict[str, object]:
    """``config`` as plain JSON values; ``from_rows`` undoes it."""
    return json.loads(json.dumps(flatten(config)))


def from_rows(rows: dict[str, object]) -> ConfigDict:
    config = default_config()
    for name, value in rows.items():
        parent = config
        *folders, leaf = name.split(".")
        for folder in folders:
            parent = parent[folder]
        parent[leaf] = _tuples(value)
    return config


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
