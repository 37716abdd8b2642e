"""The dial board of a post-training run: the training config's model, mesh, optimizer, and what RL adds to it."""

import dataclasses

from ml_collections import ConfigDict

from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec
from polaris_jax.rewards import JudgeSpec, RewardSpec
from polaris_jax.rl.aggregation import MODES
from polaris_jax.rl.schedules import SHAPES
from polaris_jax.training import default_config
from polaris_jax.training.config import CHOICES, EXECUTION_FIELDS, check_numbers, flatten, known_field

# How the names of those fields begin that a resumed run may have changed: how it is carried out, and where things lie.
EXECUTION = (*EXECUTION_FIELDS, "data.train", "data.validation", "rl.micro_windows", "rl.window", "rollout.slots",
             "judge.concurrency", "judge.timeout", "judge.attempts", "judge.budget_tokens", "judge.budget_usd",
             "judge.cache")


def default_rl_config() -> ConfigDict:
    """Every field of a run. The defaults are the published recipe's (POLARIS specification 1 to 6), its paths apart.

    Lengths are tokens, ``steps`` are optimizer steps.
    """
    config = ConfigDict({name: default_config()[name] for name in ("seed", "model", "mesh", "loss", "optim", "train")})
    config.seed = 3479
    config.optim.update({"schedule": "constant", "learning_rate": 1e-6, "warmup": 0, "b1": 0.9, "b2": 0.999,
                         "weight_decay": 0.01, "clip_norm": 1.0, "groups": (("", "adamw"),)})
    config.train.update({"steps": 173, "checkpoint_every": 5, "async_checkpoints": False})
    config.data = ConfigDict({
        "kind": "prompts",             # prompts (published schema) | chapters (of a trajectory store) | passages
        "train": "",                   # .jsonl or .parquet; a token store; a novel
        "validation": "",              # the same ("" validates on nothing); passages: the novel's last part
        "words": (12, 60),             # passages: shortest and longest
        "held_out": 0.25,              # passages: share of the novel at its end that is for validation
        "max_prompt_tokens": 256,
        "limit": 0,                    # use only so many tasks, evenly spread (0 = all)
        "validation_limit": 0,
    })
    config.rollout = ConfigDict({
        "max_tokens": 8192, "temperature": 1.0, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.1,
        "slots": 48,                   # rows written at once
        "cache_dtype": "",             # of keys and values ("" = as the weights)
        "validation_temperature": 0.8, "validation_top_p": 0.95, "validation_top_k": 0,
        "validation_repetition_penalty": 1.1,
    })
    config.rl = ConfigDict({
        "objective": "grpo",           # grpo | orpo
        "as_released": False,          # the released trainer's behaviour, inert references included
        "prompts_per_step": 8,
        "group_size": 6,               # rows per prompt; one of them the reference while its weight is above 0
        "window": 8448,                # tokens per packed window: at least the longest row
        "micro_windows": 1,            # windows at a time, per data row of the mesh
        "epochs": 1, "minibatches": 1,  # passes over a step's rows; parts of it with an update each
        "normalise": True,             # advantages over the group's spread
        "std_floor": 0.02,             # least spread (reward units)
        "reference_limit": 10.0,       # of the references' advantages (0 = none)
        "exclude_references": True,    # from the groups' statistics
        "aggregation": "token-mean",
        "clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0,
        "correction_limit": 2.0,       # of sampler/learner importance weights (0 = no correction)
        "kl_coef": 0.0, "kl_estimator": "k3",
        "orpo_beta": 1.0,
        "thinking": False,             # the chat template's thinking mode
        "think_prefix": 0,             # rollouts of a group that start from the reference's reasoning
    })
    config.rl.reference = ConfigDict({"peak": 0.4, "final": 0.0, "warmup": 15, "decay": 0, "shape": "linear"})
    config.rl.cloning = ConfigDict({"peak": 0.0, "final": 0.0, "warmup": 0, "decay": 0, "shape": "linear"})
    config.rl.auto_weights = ConfigDict({
        "components": (), "update_every": 10, "start_step": 0, "min_points": 30, "window": 100, "eta": 0.5,
        "w_min": 0.05, "w_max": 0.95, "deg": 1, "ema_beta": 0.0, "penalty_keys": (), "normalize_domain": "subset"})
    config.rewards = ConfigDict(_plain(dataclasses.asdict(RewardSpec())))
    config.judge = ConfigDict({
        "kind": "llm",                 # none | offline | llm
        "provider": "gemini", "model": "gemini-3-flash-preview", "base_url": "", "api_key_env": "", "cache": "",
        "concurrency": 32, "timeout": 600.0, "attempts": 6, "budget_tokens": 0, "budget_usd": 0.0,
        "prices": (), "structured": "json_schema", "samples": 1, "temperature": 0.2, "rubric": "full",
    })
    config.validation = ConfigDict({"every": 20, "first": True, "distributions": False, "bins": 50})
    return config


def _plain(values: dict) -> dict:
    """Without what a config cannot hold: None stands for the default, which is None too."""
    return {name: _plain(value) if isinstance(value, dict) else value for name, value in values.items()
            if value is not None}


def check_rl_config(config: ConfigDict) -> ConfigDict:
    """``config`` itself, after refusing unknown fields, impossible values and fields that contradict each other.

    Raises:
      InputError: names the field, the value and what to do.
    """
    rows, known = flatten(config), flatten(default_rl_config())
    for name in rows:
        if not name.startswith("rewards."):  # ``RewardSpec.of`` knows them, the optional ones included
            known_field(name, known)
    for name in known:
        if name not in rows and not name.startswith("rewards."):
            raise InputError(f"config.{name}", None, "is missing; start from rl.default_rl_config()")
    choices = {name: values for name, values in CHOICES.items() if name in known} | {
        "data.kind": ("prompts", "chapters", "passages"), "rl.objective": ("grpo", "orpo"), "rl.aggregation": MODES,
        "rl.reference.shape": SHAPES, "rl.cloning.shape": SHAPES, "judge.kind": ("none", "offline", "llm")}
    for name, values in choices.items():
        if rows[name] not in values:
            raise InputError(f"config.{name}", rows[name], f"choose one of {', '.join(values)}")
    check_numbers(rows, {name: default for name, default in flatten(default_config()).items() if name in known})
    for name in ("rl.prompts_per_step", "rl.group_size", "rl.window", "rl.micro_windows", "rl.epochs",
                 "rl.minibatches", "rollout.max_tokens", "rollout.slots", "data.max_prompt_tokens"):
        if not rows[name] > 0:
            raise InputError(f"config.{name}", rows[name], "must be positive")
    for name in ("model.path", "data.train"):
        if not rows[name]:
            raise InputError(f"config.{name}", rows[name], "must name a file or folder")
    if config.rl.group_size < 2:
        raise InputError("config.rl.group_size", config.rl.group_size, "a group compares at least 2 rows")
    if config.rl.minibatches > config.rl.prompts_per_step:
        raise InputError("config.rl.minibatches", config.rl.minibatches, "at most one per prompt of the step")
    longest = config.data.max_prompt_tokens + config.rollout.max_tokens
    if config.rl.window < longest:
        raise InputError("config.rl.window", config.rl.window, f"a row may have {longest} tokens")
    if not 0 <= config.rl.think_prefix < config.rl.group_size - 1:
        raise InputError("config.rl.think_prefix", config.rl.think_prefix, "leave at least one free rollout per group")
    reward_spec(config)
    return config


def reward_spec(config: ConfigDict) -> RewardSpec:
    """``config.rewards`` as a spec; its limits of tokens follow the rollouts'."""
    return dataclasses.replace(RewardSpec.of(config.rewards.to_dict(), "config.rewards"),
                               max_tokens=config.rollout.max_tokens)


def judge_spec(config: ConfigDict, cache: str) -> JudgeSpec | None:
    """The judge of a run, or None when ``config.judge.kind`` is none.

    Args:
      cache: where replies are kept when the config names no place.
    """
    judge = config.judge
    if judge.kind != "llm":
        return JudgeSpec("offline") if judge.kind == "offline" else None
    client = ClientSpec(
        judge.provider, judge.model, base_url=judge.base_url or None, api_key_env=judge.api_key_env or None,
        cache=judge.cache or cache, concurrency=judge.concurrency, timeout=judge.timeout, attempts=judge.attempts,
        budget_tokens=judge.budget_tokens or None, budget_usd=judge.budget_usd or None,
        prices=tuple(judge.prices) or None, structured=judge.structured)
    return JudgeSpec("llm", client, samples=judge.samples, temperature=judge.temperature, seed=config.seed,
                     rubric=judge.rubric)
