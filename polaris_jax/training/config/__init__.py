"""The config of a training run: a person writes an ml-collections ``ConfigDict``, the program reads typed sections.

Config files (``polaris_jax/configs``) start from ``default_config()`` and set fields; the command line overrides any
of them as ``--config.optim.learning_rate=1e-4``. ``train_config`` is the door: behind it there are frozen dataclasses
only. ``sections`` declares every field once, with its default, unit, choices and bounds. A field that does not exist
is refused with the nearest name that does.
"""

from typing import TypeAlias

from ml_collections import ConfigDict

from polaris_jax.options import override, replace
from polaris_jax.training.config.configs import (
    StepConfig,
    TrainConfig,
    adapter_of,
    check_step_rules,
    check_train_rules,
    context_method,
    lora,
    reduce_dtype,
)
from polaris_jax.training.config.door import config_dict, flatten, typed
from polaris_jax.training.config.files import apply_overrides, load_config, refuse_other_verb
from polaris_jax.training.config.sections import (
    AUTO,
    AdapterOptions,
    DataOptions,
    EvalOptions,
    LossOptions,
    MeshOptions,
    ModelOptions,
    OptimOptions,
    TrainOptions,
)

# What the entry points take: as a person wrote it, or as the door has made it.
AnyTrainConfig: TypeAlias = ConfigDict | TrainConfig


def default_config() -> ConfigDict:
    """Every field of a run at its default. Lengths are tokens, ``steps`` optimizer steps, sizes of ``mesh`` devices."""
    return config_dict(TrainConfig())


def train_config(config: AnyTrainConfig, *, data: bool = True) -> TrainConfig:
    """The door: ``config`` typed. Refuses unknown fields, impossible values and fields that contradict each other.

    Args:
      data: whether ``data.store`` must be named; planning a step reads none.

    Raises:
      InputError: names the field, the value and what to do.
    """
    refuse_other_verb(config, "train")
    found = typed(TrainConfig, config, "training.default_config()")
    check_train_rules(found, data=data)
    return found


__all__ = [
    "AUTO",
    "AdapterOptions",
    "AnyTrainConfig",
    "ConfigDict",
    "DataOptions",
    "EvalOptions",
    "LossOptions",
    "MeshOptions",
    "ModelOptions",
    "OptimOptions",
    "StepConfig",
    "TrainConfig",
    "TrainOptions",
    "adapter_of",
    "apply_overrides",
    "check_step_rules",
    "check_train_rules",
    "config_dict",
    "context_method",
    "default_config",
    "flatten",
    "load_config",
    "lora",
    "override",
    "reduce_dtype",
    "refuse_other_verb",
    "replace",
    "train_config",
    "typed",
]
