"""The config of a supervised run, and the part of it that any run has: what one optimizer step reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from polaris_jax.errors import InputError
from polaris_jax.models.lora import Lora
from polaris_jax.ops.context import Method
from polaris_jax.optim.groups import GROUPS
from polaris_jax.options import ANY_NUMBER, option, section
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

_FEW_DEVICES = 64  # whose gradients may be added up in bfloat16 with an error of 1 %


@dataclass(frozen=True)
class StepConfig:
    """What every run has, supervised or not: seed, model, mesh, loss, optimizer, length."""

    seed: int = option(0, bounds=ANY_NUMBER, doc="of everything that is drawn; any number")
    model: ModelOptions = section(ModelOptions(), doc="the model, and how its layers are run")
    mesh: MeshOptions = section(MeshOptions(), execution=True, doc="devices along each axis")
    loss: LossOptions = section(LossOptions(), doc="the loss")
    adapter: AdapterOptions = section(AdapterOptions(), doc="what learns, where that is not the whole model")
    optim: OptimOptions = section(OptimOptions(), doc="the optimizer")
    train: TrainOptions = section(TrainOptions(), doc="how long, and what is written down")


@dataclass(frozen=True)
class TrainConfig(StepConfig):
    """A supervised run."""

    data: DataOptions = section(DataOptions(), doc="which trajectories, in which windows")
    eval: EvalOptions = section(EvalOptions(), execution=True, doc="the held-out loss")


def lora(config: StepConfig) -> Lora | None:
    """The adapter that is trained; None in full training."""
    return adapter_of(config.adapter)


def adapter_of(adapter: AdapterOptions) -> Lora | None:
    """The adapter that a section describes; None where it asks for full training."""
    found = Lora(
        rank=adapter.rank,
        alpha=adapter.alpha or 2.0 * adapter.rank,
        targets=adapter.targets,
        ranks=adapter.ranks,
        embeddings=adapter.embeddings,
        base=adapter.base,
    )
    return found if found.rank else None


def context_method(config: StepConfig) -> Method:
    """How keys reach queries; what nobody has chosen is a ring, which can be laid out over any mesh."""
    return "ring" if config.model.context_method == AUTO else cast(Method, config.model.context_method)


def reduce_dtype(config: StepConfig, sizes: Mapping[str, int]) -> str:
    """In which dtype the devices' gradients are added up.

    A rounding after every addition costs bfloat16 gradients most where all devices stand in one ring: their sum is off
    by 0.4 % at 8 devices, 1 % at 64, 1.8 % at 256 and 12 to 33 % at 1,024 (``benchmarks/gradient_reduction.py``).

    Args:
      sizes: devices per mesh axis.
    """
    asked = config.optim.reduce_dtype
    if asked != AUTO:
        return asked
    few = sizes["data"] * sizes["fsdp"] * sizes["context"] <= _FEW_DEVICES
    return config.model.compute_dtype if few else "float32"


def check_step_rules(config: StepConfig) -> None:
    """Refuses fields that contradict each other, of those that every run has.

    Raises:
      InputError: names the field, the value and what to do.
    """
    for rule in config.optim.groups:
        if not (isinstance(rule, tuple) and len(rule) == 2 and isinstance(rule[0], str) and rule[1] in GROUPS):
            raise InputError("config.optim.groups", rule, f"a rule reads (path pattern, {' | '.join(GROUPS)})")
    _check_adapter(config)
    written_out = config.model.remat in ("full", "attention")  # else the compiler decides what crosses devices, and how
    if config.optim.qk_clip and not written_out:
        raise InputError("config.optim.qk_clip", config.optim.qk_clip, "needs model.remat=full or attention")
    if config.optim.reduce_dtype != AUTO and not written_out:
        raise InputError("config.optim.reduce_dtype", config.optim.reduce_dtype, "needs model.remat=full or attention")


def _check_adapter(config: StepConfig) -> None:
    adapter = config.adapter
    for pattern in adapter.targets:
        if not isinstance(pattern, str):
            raise InputError("config.adapter.targets", pattern, "a target is a pattern, such as q_proj")
    for rule in adapter.ranks:
        if not (len(rule) == 2 and isinstance(rule[0], str) and type(rule[1]) is int and rule[1] > 0):
            raise InputError("config.adapter.ranks", rule, "a rule reads (pattern, rank above 0)")
    if not adapter.rank:
        for name in ("alpha", "targets", "ranks", "embeddings", "embeddings_from"):
            if getattr(adapter, name):
                raise InputError(f"config.adapter.{name}", getattr(adapter, name), "needs config.adapter.rank")
        if adapter.base != AUTO:
            raise InputError("config.adapter.base", adapter.base, "needs config.adapter.rank")
    elif adapter.embeddings_from and not adapter.embeddings:
        raise InputError("config.adapter.embeddings_from", adapter.embeddings_from, "needs config.adapter.embeddings")
    elif config.optim.qk_clip:
        raise InputError("config.optim.qk_clip", config.optim.qk_clip, "scales weights that an adapter leaves frozen")
    elif config.optim.per_head:
        raise InputError("config.optim.per_head", True, "cuts matrices that an adapter leaves frozen")


def check_train_rules(config: TrainConfig, *, data: bool = True) -> None:
    """Refuses what no supervised run can do although every field by itself is fine.

    Args:
      data: whether the store must be named; planning a step reads none.

    Raises:
      InputError: names the field, the value and what to do.
    """
    if not config.model.path:
        raise InputError("config.model.path", config.model.path, "must name a folder")
    if data and not config.data.store:
        raise InputError("config.data.store", config.data.store, "must name a folder")
    check_step_rules(config)
    for stage in config.data.curriculum:
        if not (isinstance(stage, tuple) and len(stage) == 3 and all(type(n) is int and n > 0 for n in stage)):
            raise InputError("config.data.curriculum", stage, "a stage reads (steps, window, batch_size)")
    for source in config.data.mix:
        if not (
            isinstance(source, tuple)
            and len(source) == 2
            and isinstance(source[0], str)
            and isinstance(source[1], int | float)
            and source[1] > 0
        ):
            raise InputError("config.data.mix", source, "a source reads (store, weight above 0)")
    for size in (config.data.batch_size, *(stage[2] for stage in config.data.curriculum)):
        if size % config.train.microbatches:
            raise InputError(
                "config.train.microbatches", config.train.microbatches, f"must divide data.batch_size={size}"
            )
