"""The dial board of a training run: one ``ConfigDict`` with every field, its default and its unit.

Config files (``configs/*.py``) start from ``default_config()`` and set fields; the command line overrides any of them
as ``--config.optim.learning_rate=1e-4``. A field that does not exist is refused with the nearest name that does.
"""

import ast
import difflib
import importlib.util
import math
import os
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from polaris_jax.errors import InputError
from polaris_jax.ops.context import METHODS
from polaris_jax.optim import RECIPES
from polaris_jax.optim.groups import GROUPS
from polaris_jax.optim.schedules import SCHEDULES
from polaris_jax.training.compiler_options import OVERLAP

AUTO = "auto"


def default_config() -> ConfigDict:
    """Every field of a run. Lengths are tokens, ``steps`` are optimizer steps, sizes of ``mesh`` are devices."""
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({
        "path": "",                    # Hugging Face folder (weights, config.json, tokenizer), local or gs://
        "compute_dtype": "bfloat16",   # of activations and, in fp32_master, of the working copy
        "remat": "attention",          # none | full | attention | dots: what the backward pass finds saved
        "attention_block": 512,        # tile edge of blockwise attention
        "context_method": AUTO,        # ring | two_level | all_gather: how keys reach queries over the context axis;
                                       # auto: on TPU `polaris plan` and `polaris train` choose by estimate, else ring
        "context_group": 0,            # two_level: neighbouring shards that exchange heads (0: as many as divide)
        "overlap": "all",              # all | none: collectives that run beside computation on TPU
        "segments": 1,                 # runs of layers whose saved inputs are freed one run after the other
        "mlp_chunk": 0,                # tokens at a time through the feed-forward half (0: the whole row)
        "offload": False,              # layer inputs wait in host memory between forward and backward
    })
    config.mesh = ConfigDict({"data": 1, "fsdp": 1, "context": -1, "tensor": 1})  # -1: what is left
    config.data = ConfigDict({
        "store": "",                   # token store, local or gs://
        "split": "train",              # train | validation | test: the authors to learn from ("" = all)
        "window": 8192,                # tokens per row
        "batch_size": 1,               # rows per optimizer step, over the whole mesh
        "overlong": "error",           # error | drop: trajectories longer than the window
        "max_trajectories": 0,         # use only so many, evenly spread over the store (0 = all)
        "threads": 4,                  # reading ahead
        "mix": (),                     # ((store, weight), ...): rows from these stores too, data.store has weight 1
        "curriculum": (),              # ((steps, window, batch_size), ...) before data.window and data.batch_size hold
    })
    config.loss = ConfigDict({"chunk": 512, "z_loss": 0.0})
    config.optim = ConfigDict({
        "precision": "fp32_master",    # fp32_master | stochastic_downcast | bf16_stochastic
        "schedule": "cosine",          # cosine | constant | wsd
        "learning_rate": 2e-5,         # peak; Muon updates have RMS 0.2 of it
        "warmup": 25,                  # steps
        "adamw_scale": 1.0,            # AdamW's rate relative to Muon's
        "momentum": 0.95,
        "newton_schulz_steps": 5,
        "newton_schulz_dtype": "bfloat16",
        "b1": 0.9,
        "b2": 0.95,
        "weight_decay": 0.0,
        "clip_norm": 1.0,              # 0 = no clipping
        "state_dtype": "float32",      # of the momenta
        "qk_clip": 0.0,                # largest attention logit a head may have (MuonClip; 0 = no clipping)
        "per_head": False,             # Muon orthogonalises every head's projection by itself
        "groups": (),                  # ((path pattern, muon | adamw | frozen), ...), before the built-in rules
    })
    config.eval = ConfigDict({
        "every": 0,                    # steps between evaluations (0 = never)
        "split": "validation",         # the authors that were held out
        "rows": 16,                    # windows, the same ones every time
    })
    config.train = ConfigDict({
        "steps": 100,
        "microbatches": 1,             # a step's rows are processed in so many parts
        "checkpoint_every": 50,        # steps; the last step is always kept
        "keep_checkpoints": 2,
        "async_checkpoints": True,     # write while training goes on (needs a second copy of the state in memory)
        "grace_seconds": 55.0,         # from SIGTERM to the end at the latest (pods wait 60 to 90)
        "max_skipped": 5,              # steps in a row without finite gradients before the run stops
        "rounding_statistics": False,  # report the share of weights that a step changed
        "tensorboard": False,          # also write TensorBoard files
        "wandb": "",                   # project at Weights & Biases to report to ("" = none)
        "profile_first": 10,           # step at which a trace for xprof begins
        "profile_steps": 0,            # its length (0 = only on SIGUSR1)
    })
    return config


# Fields that say how a run is carried out, not what it computes: a run may be resumed with others.
EXECUTION_FIELDS = (
    "mesh", "data.threads", "eval", "model.attention_block", "model.context_group", "model.context_method",
    "model.mlp_chunk", "model.offload", "model.overlap", "model.remat", "model.segments", "optim.precision",
    "optim.state_dtype", "train.async_checkpoints", "train.checkpoint_every", "train.grace_seconds",
    "train.keep_checkpoints", "train.max_skipped", "train.microbatches", "train.profile_first", "train.profile_steps",
    "train.rounding_statistics", "train.tensorboard", "train.wandb")

CHOICES = {
    "model.compute_dtype": ("float32", "bfloat16"),
    "model.context_method": (AUTO, *METHODS),
    "model.overlap": tuple(OVERLAP),
    "model.remat": ("none", "full", "attention", "dots"),
    "data.overlong": ("error", "drop"),
    "optim.precision": RECIPES,
    "optim.schedule": SCHEDULES,
    "optim.newton_schulz_dtype": ("float32", "bfloat16"),
    "optim.state_dtype": ("float32", "bfloat16"),
}
POSITIVE = ("model.attention_block", "model.segments", "data.window", "data.batch_size", "data.threads", "loss.chunk",
            "optim.learning_rate", "optim.newton_schulz_steps", "train.steps", "train.microbatches",
            "train.checkpoint_every", "train.grace_seconds", "train.keep_checkpoints", "train.max_skipped", "eval.rows")
DECAYS = ("optim.momentum", "optim.b1", "optim.b2")  # share of the average so far that is kept


def flatten(config: ConfigDict) -> dict[str, object]:
    """``{"optim.learning_rate": 2e-5, ...}`` in sorted order."""
    rows = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            rows.update({f"{name}.{inner}": leaf for inner, leaf in flatten(value).items()})
        else:
            rows[name] = value
    return dict(sorted(rows.items()))


def check_config(config: ConfigDict) -> ConfigDict:
    """``config`` itself, after refusing unknown fields, impossible values and fields that contradict each other.

    Raises:
      InputError: names the field, the value and what to do.
    """
    rows, known = flatten(config), flatten(default_config())
    for name in rows:
        known_field(name, known)
    for name in known:
        if name not in rows:
            raise InputError(f"config.{name}", None, "is missing; start from training.default_config()")
    for name, value in rows.items():
        # A config that went through JSON has lists in the place of tuples.
        alike = {tuple: (tuple, list), float: (float, int)}.get(type(known[name]), (type(known[name]),))
        if type(value) not in alike:
            raise InputError(f"config.{name}", value, f"must be {type(known[name]).__name__}, like {known[name]!r}")
    for name, choices in CHOICES.items():
        if rows[name] not in choices:
            raise InputError(f"config.{name}", rows[name], f"choose one of {', '.join(choices)}")
    check_numbers(rows, known)
    for name in ("model.path", "data.store"):
        if not rows[name]:
            raise InputError(f"config.{name}", rows[name], "must name a folder")
    for rule in rows["optim.groups"]:
        if not (isinstance(rule, tuple | list) and len(rule) == 2 and isinstance(rule[0], str) and rule[1] in GROUPS):
            raise InputError("config.optim.groups", rule, f"a rule reads (path pattern, {' | '.join(GROUPS)})")
    for stage in rows["data.curriculum"]:
        if not (isinstance(stage, tuple | list) and len(stage) == 3 and all(type(n) is int and n > 0 for n in stage)):
            raise InputError("config.data.curriculum", stage, "a stage reads (steps, window, batch_size)")
    for source in rows["data.mix"]:
        if not (isinstance(source, tuple | list) and len(source) == 2 and isinstance(source[0], str)
                and isinstance(source[1], int | float) and source[1] > 0):
            raise InputError("config.data.mix", source, "a source reads (store, weight above 0)")
    for size in (config.data.batch_size, *(stage[2] for stage in rows["data.curriculum"])):
        if size % config.train.microbatches:
            raise InputError("config.train.microbatches", config.train.microbatches,
                             f"must divide data.batch_size={size}")
    if config.optim.qk_clip and config.model.remat not in ("full", "attention"):
        raise InputError("config.optim.qk_clip", config.optim.qk_clip, "needs model.remat=full or attention")
    return config


def check_numbers(rows: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Refuses numbers no run can use. Sizes of the mesh are checked against the devices, and a seed may be anything.

    Args:
      rows: the config. known: the defaults of the fields to look at.

    Raises:
      InputError: a number that is negative, not finite, 0 where it must not be, or 1 and more where it is a share.
    """
    for name, default in known.items():
        if type(default) not in (int, float) or name == "seed" or name.startswith("mesh."):
            continue
        if name in POSITIVE and not 0 < rows[name] < math.inf:
            raise InputError(f"config.{name}", rows[name], "must be positive")
        if not 0 <= rows[name] < math.inf:
            raise InputError(f"config.{name}", rows[name], "must not be negative")
        if name in DECAYS and rows[name] >= 1:
            raise InputError(f"config.{name}", rows[name], "must be below 1")


def context_method(config: ConfigDict) -> str:
    """How keys reach queries; what nobody has chosen is a ring, which can be laid out over any mesh."""
    return "ring" if config.model.context_method == AUTO else config.model.context_method


def known_field(name: str, known: Iterable[str]) -> None:
    """Refuses a name that is not in ``known``.

    Raises:
      InputError: names the nearest field.
    """
    if name not in known:
        near = _nearest(name, known)
        hint = f"did you mean config.{near}?" if near else f"the fields are {', '.join(known)}"
        raise InputError("config", name, f"no such field; {hint}")


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The field most likely meant: alike as a whole, alike in its last part, or shortened to initials (``lr``)."""
    leaf = name.rpartition(".")[2]

    def likeness(field: str) -> tuple[float, float]:
        last = field.rpartition(".")[2]
        whole, part = (difflib.SequenceMatcher(None, *pair).ratio() for pair in ((name, field), (leaf, last)))
        initials = "".join(word[0] for word in last.split("_"))
        return max(whole, part, float(len(leaf) > 1 and leaf == initials)), whole

    best = max(known, key=likeness)
    return best if likeness(best)[0] >= 0.5 else None


def apply_overrides(config: ConfigDict, overrides: Iterable[str]) -> ConfigDict:
    """Sets ``a.b=value`` fields in place; values are Python literals, anything else is a string.

    Raises:
      InputError: an unknown field (with the nearest known one) or a value of another type.
    """
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator:
            raise InputError("config", override, "an override reads --config.field=value")
        rows = flatten(config)
        known_field(name, rows)
        current = rows[name]
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(current, str) and not isinstance(value, str):
            value = text
        if type(value) is not type(current):
            raise InputError(f"config.{name}", text, f"must be {type(current).__name__}, like {current!r}")
        parent = config
        *folders, leaf = name.split(".")
        for folder in folders:
            parent = parent[folder]
        parent[leaf] = value
    return config


def load_config(path: str | os.PathLike, overrides: Iterable[str] = ()) -> ConfigDict:
    """Runs ``get_config()`` of a Python config file and applies overrides.

    Raises:
      InputError: no such file, a file that fails or has no ``get_config``, or an override that is refused.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError("--config", str(path), "no such file; the repository's are configs/*.py")
    spec = importlib.util.spec_from_file_location("polaris_run_config", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config() if hasattr(module, "get_config") else None
    except InputError:
        raise
    except Exception as error:
        places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else places[-1] if places else 1
        raise InputError("--config", str(path), f"line {line}: {type(error).__name__}: {error}") from error
    if config is None:
        raise InputError("--config", str(path), "the file defines no get_config(), or it returns nothing")
    return apply_overrides(config, overrides)
