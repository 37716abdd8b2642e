"""The config of a post-training run: model, mesh and optimizer as in training, and the sections of RL."""

import dataclasses
from dataclasses import dataclass
from typing import TypeAlias

from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec
from polaris_jax.options import again, section
from polaris_jax.rewards import JudgeSpec, RewardSpec
from polaris_jax.rl.released import released_trainer
from polaris_jax.rl.sections import JudgeOptions, RlOptions, RolloutOptions, TaskOptions, ValidationOptions
from polaris_jax.training.config import (
    ConfigDict,
    OptimOptions,
    StepConfig,
    TrainOptions,
    check_step_rules,
    config_dict,
    refuse_other_verb,
    typed,
)


@dataclass(frozen=True)
class RlConfig(StepConfig):
    """A post-training run. Except for paths, the defaults are the published recipe's (POLARIS specification 1 to 6)."""

    seed: int = again(StepConfig, "seed", 3479)
    optim: OptimOptions = again(
        StepConfig,
        "optim",
        OptimOptions(
            schedule="constant",
            learning_rate=1e-6,
            warmup=0,
            b1=0.9,
            b2=0.999,
            weight_decay=0.01,
            clip_norm=1.0,
            groups=(("", "adamw"),),
        ),
    )
    train: TrainOptions = again(
        StepConfig, "train", TrainOptions(steps=173, checkpoint_every=5, async_checkpoints=False)
    )
    data: TaskOptions = section(TaskOptions(), doc="what to write")
    rollout: RolloutOptions = section(RolloutOptions(), doc="how responses are sampled")
    rl: RlOptions = section(RlOptions(), doc="groups, advantages and the objective")
    rewards: RewardSpec = section(RewardSpec(), doc="every number of the reward")
    judge: JudgeOptions = section(JudgeOptions(), doc="who judges")
    validation: ValidationOptions = section(ValidationOptions(), doc="held-out prompts")


# What ``post_train`` accepts: the config as a user wrote it, or already typed by ``rl_config``.
AnyRlConfig: TypeAlias = ConfigDict | RlConfig


def default_rl_config() -> ConfigDict:
    """Every field of a run at its default. Lengths are tokens, ``steps`` are optimizer steps."""
    return config_dict(RlConfig())


def rl_config(config: AnyRlConfig) -> RlConfig:
    """Checks and types ``config``. Refuses unknown fields, impossible values and fields that contradict each other.

    Raises:
      InputError: names the field, the value and what to do.
    """
    refuse_other_verb(config, "rl")
    found = typed(RlConfig, config, "rl.default_rl_config()", partial=("rewards.", "judge.backoff"))
    _check_rules(found)
    return released_trainer(found) if found.rl.as_released else found


def _check_rules(config: RlConfig) -> None:
    for name, value in (("model.path", config.model.path), ("data.train", config.data.train)):
        if not value:
            raise InputError(f"config.{name}", value, "must name a file or folder")
    check_step_rules(config)
    # Fields of supervised training without a meaning here.
    if config.train.microbatches != 1:
        raise InputError("config.train.microbatches", config.train.microbatches, "leave it at 1; see rl.micro_windows")
    if config.mesh.slices:
        raise InputError(
            "config.mesh.slices", config.mesh.slices, "leave it at 0; post-training runs on one host's slice"
        )
    if config.loss.z_loss:
        raise InputError("config.loss.z_loss", config.loss.z_loss, "leave it at 0; post-training has no such term")
    limit = config.rewards.max_tokens
    if limit not in (RewardSpec().max_tokens, config.rollout.max_tokens):
        raise InputError("config.rewards.max_tokens", limit, "set rollout.max_tokens; the reward takes its limit there")
    rl = config.rl
    _check_pairs(config)
    if rl.minibatches > rl.prompts_per_step:
        raise InputError("config.rl.minibatches", rl.minibatches, "at most one per prompt of the step")
    longest = config.data.max_prompt_tokens + config.rollout.max_tokens
    if rl.window < longest:
        raise InputError("config.rl.window", rl.window, f"a row may have {longest} tokens")
    if 0 < rl.dual_clip <= 1:
        raise InputError("config.rl.dual_clip", rl.dual_clip, "must be above 1, or 0 to switch it off")
    if rl.clip_low >= 1:
        raise InputError("config.rl.clip_low", rl.clip_low, "must be below 1: no ratio is negative")
    judge_spec(config, "judge")  # refuses a bad client before anything is loaded
    if not 0 <= rl.think_prefix < rl.group_size - 1:
        raise InputError("config.rl.think_prefix", rl.think_prefix, "leave at least one free rollout per group")


def _check_pairs(config: RlConfig) -> None:
    """Refuses fields that a run on preference pairs cannot have: it neither writes nor judges anything."""
    rl = config.rl
    if config.data.kind != "pairs":
        if rl.objective == "dpo":
            raise InputError("config.rl.objective", rl.objective, "needs pairs: set config.data.kind=pairs")
        return
    if rl.objective == "grpo":
        raise InputError("config.rl.objective", rl.objective, "use orpo or dpo with config.data.kind=pairs")
    for name, value, wanted in (
        ("rl.epochs", rl.epochs, 1),
        ("rl.minibatches", rl.minibatches, 1),
        ("rl.thinking", rl.thinking, False),
        ("rl.as_released", rl.as_released, False),
        ("rl.kl_coef", rl.kl_coef, 0.0),
        ("validation.benches", config.validation.benches, ()),
    ):
        if value != wanted:
            raise InputError(f"config.{name}", value, f"leave it at {wanted!r}; training on pairs has no such thing")


def reward_spec(config: RlConfig) -> RewardSpec:
    """``config.rewards`` with the token limits of the rollouts."""
    return dataclasses.replace(config.rewards, max_tokens=config.rollout.max_tokens)


def judge_spec(config: RlConfig, cache: str) -> JudgeSpec | None:
    """The judge of a run, or None when ``config.judge.kind`` is none.

    Args:
      cache: where replies are kept when the config names no place.

    Raises:
      InputError: the config describes no valid client.
    """
    judge = config.judge
    if judge.kind != "llm":
        return JudgeSpec("offline") if judge.kind == "offline" else None
    given = {field.name: getattr(judge, field.name) for field in dataclasses.fields(ClientSpec)}
    return JudgeSpec(
        "llm",
        ClientSpec(**given | {"cache": judge.cache or cache}),
        samples=judge.samples,
        temperature=judge.temperature,
        seed=config.seed,
        rubric=judge.rubric,
        max_tokens=judge.max_tokens,
    )
