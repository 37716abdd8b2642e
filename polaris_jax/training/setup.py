"""What a run is made of before its weights are loaded: model, mesh, optimizer, and the state's shapes and places."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from polaris_jax.errors import InputError
from polaris_jax.models import ModelConfig, describe, from_pretrained, weight_table
from polaris_jax.models.loading import load_table
from polaris_jax.models.lora import WHOLE, SplitTable, split_table
from polaris_jax.models.model_folder import read_config
from polaris_jax.models.weights import Table, abstract_tree, table_initialiser, table_shardings
from polaris_jax.optim import (
    GroupRule,
    attention_splits,
    group_table,
    label_params,
    make_optimizer,
    make_schedule,
    stored_dtype,
)
from polaris_jax.optim.groups import DEFAULT_RULES
from polaris_jax.sharding import make_mesh
from polaris_jax.training.config import StepConfig, TrainConfig, lora
from polaris_jax.training.mesh_fit import check_blocks_fit, check_model_fits, check_rows_fit
from polaris_jax.training.slices import require_all_slices, slices_are_missing
from polaris_jax.training.state import TrainState, abstract_state, initial_state


@dataclass(frozen=True)
class Setup:
    """What a run is made of. Nothing in it changes during the run.

    Attributes:
      schedule: learning rate by step. labels: tree of the optimizer's groups.
      abstract: the state as ``jax.ShapeDtypeStruct`` with shardings. split: which weights learn.
    """

    model: ModelConfig
    mesh: Mesh
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    labels: Any
    abstract: TrainState
    split: SplitTable

    @property
    def groups(self) -> list[tuple[str, int, int]]:
        """Rows ``(group, arrays, parameters)`` of the optimizer, and of what an adapter leaves ``frozen``."""
        rows = group_table(self.abstract.params, self.labels)
        if not self.split.frozen:
            return rows
        learning = sum(path in self.split.trained for path in weight_table(self.model))
        whole = sum(math.prod(self.split.trained[path].shape) for path in WHOLE if path in self.split.trained)
        arrays = len(weight_table(self.model)) - learning
        return [*rows, ("frozen", arrays, describe(self.model).total - whole)]

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of the state, without the weights that an adapter leaves frozen."""
        kept = dataclasses.replace(self.abstract, frozen={})
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def set_up(
    config: StepConfig,
    *,
    devices: Sequence[jax.Device] | None = None,
    updates: int | None = None,
    shape_only: bool = False,
) -> Setup:
    """Reads the model's config and lays the run out over the mesh; loads no weights.

    Args:
      devices: of the mesh, attached or described by a topology; default all.
      updates: optimizer steps of the whole run; default ``train.steps``.
      shape_only: a ``config.json`` alone will do as ``model.path``.

    Raises:
      InputError: an unreadable model, or a mesh that it cannot be spread over.
    """
    model = read_config(config.model.path, shape_only=shape_only)
    if not isinstance(config, TrainConfig):
        require_all_slices(config, devices)
    mesh = make_mesh(config.mesh.sizes(), devices=devices)
    check_model_fits(model, mesh.shape)
    if isinstance(config, TrainConfig):
        check_rows_fit(config, mesh.shape, padded=slices_are_missing(config, mesh))
    optim = config.optim
    schedule = make_schedule(optim.schedule, optim.learning_rate, updates or config.train.steps, optim.warmup)
    adapter = lora(config)
    split = split_table(model, adapter)
    check_blocks_fit(split, mesh)
    if config.adapter.embeddings_from >= model.vocab_size:
        first, size = config.adapter.embeddings_from, model.vocab_size
        raise InputError("config.adapter.embeddings_from", first, f"the model has {size} tokens: none learns")
    optimizer, labels = build_optimizer(config, model, mesh, schedule)
    stored, compute = stored_dtype(optim.precision), jnp.dtype(config.model.compute_dtype)
    abstract = abstract_state(model, optimizer, mesh, stored, split, compute)
    return Setup(model, mesh, optimizer, schedule, labels, abstract, split)


def build_optimizer(
    config: StepConfig, model: ModelConfig, mesh: Mesh, schedule: optax.Schedule
) -> tuple[optax.GradientTransformation, Any]:
    """``(optimizer, labels)``: the config's groups before the built-in ones, matrices shared out over the mesh."""
    optim = config.optim
    rules = (*(GroupRule(*pair) for pair in optim.groups), *DEFAULT_RULES)
    trained = split_table(model, lora(config)).trained
    labels = label_params(abstract_tree(trained, stored_dtype(optim.precision)), rules)
    splits = attention_splits(model.num_heads, model.num_kv_heads, gated=model.family.output_gate)
    optimizer = make_optimizer(
        labels,
        schedule,
        adamw_scale=optim.adamw_scale,
        momentum=optim.momentum,
        newton_schulz_steps=optim.newton_schulz_steps,
        newton_schulz_dtype=jnp.dtype(optim.newton_schulz_dtype),
        b1=optim.b1,
        b2=optim.b2,
        weight_decay=optim.weight_decay,
        clip_norm=optim.clip_norm or None,
        state_dtype=jnp.dtype(optim.state_dtype),
        splits=splits if optim.per_head else (),
        shardings=table_shardings(trained, mesh) if mesh.size > 1 else None,
    )
    return optimizer, labels


def pretrained_params(config: StepConfig, setup: Setup) -> Any:
    """The weights of ``model.path`` in the stored dtype, where the state has them; an adapter's begin at ``seed``."""
    stored = stored_dtype(config.optim.precision)
    if lora(config) is None:
        return from_pretrained(config.model.path, dtype=stored, mesh=setup.mesh).params
    factors = {path: weight for path, weight in setup.split.trained.items() if path not in WHOLE}
    key = jax.random.key(config.seed)
    fresh = table_initialiser(factors, jnp.dtype(stored), setup.mesh, setup.model.num_layers)(key)
    whole: Table = {path: weight for path, weight in setup.split.trained.items() if path in WHOLE}
    return load_table(config.model.path, whole, dtype=stored, mesh=setup.mesh) | fresh


def frozen_params(config: StepConfig, setup: Setup) -> Any:
    """The weights of ``model.path`` that an adapter leaves as they are: in the compute dtype, or quantised."""
    adapter, compute = lora(config), jnp.dtype(config.model.compute_dtype)
    if adapter is None:
        return {}
    return load_table(config.model.path, setup.split.frozen, dtype=compute, mesh=setup.mesh, held=adapter.base)


def first_state(config: StepConfig, setup: Setup) -> TrainState:
    """Step 0 from the weights of ``model.path``."""
    params = pretrained_params(config, setup)
    return initial_state(params, setup.optimizer, setup.abstract, frozen_params(config, setup))


def starting_state(
    config: StepConfig, setup: Setup, found: tuple[TrainState, dict] | None
) -> tuple[TrainState, dict | None]:
    """Where a run goes on: ``found`` by ``Checkpoints.restore_newest`` with its frozen weights, or step 0 and None."""
    if found is None:
        return first_state(config, setup), None
    return dataclasses.replace(found[0], frozen=frozen_params(config, setup)), found[1]
