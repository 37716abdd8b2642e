"""The real train step over devices that need not exist: model, state and batch as shapes with shardings."""

import json
from collections.abc import Sequence

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.data.loader import FIELDS
from polaris_jax.options import build
from polaris_jax.training.config import TrainConfig, flatten
from polaris_jax.training.setup import set_up
from polaris_jax.training.step import make_train_step


def lower_step(config: TrainConfig, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
    """``training.make_train_step`` of ``config`` lowered for ``devices`` (attached, or described by a topology)."""
    step, arguments = abstract_step(config, devices)
    return step.lower(*arguments)


def abstract_step(config: TrainConfig, devices: Sequence[jax.Device]) -> tuple[jax.stages.Wrapped, tuple]:
    """The jitted step of ``config``, and the shapes of its arguments with their shardings over ``devices``.

    Raises:
      InputError: an unreadable model, or a mesh that model and rows cannot be spread over.
    """
    setup = set_up(config, devices=devices, shape_only=True)
    rows = NamedSharding(setup.mesh, P(("data", "fsdp"), "context"))
    shape = (config.data.batch_size, config.data.window)
    batch = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=rows) for name, dtype in FIELDS.items()}
    step = make_train_step(config, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
    return step, (setup.abstract, batch)


def to_rows(config: TrainConfig) -> dict[str, object]:
    """``config`` as plain JSON values; ``from_rows`` undoes it."""
    return json.loads(json.dumps(flatten(config)))


def from_rows(rows: dict[str, object]) -> TrainConfig:
    """The config that ``to_rows`` has turned into values.

    Raises:
      InputError: a row is not a field, or a value is impossible.
    """
    return build(TrainConfig, rows)
