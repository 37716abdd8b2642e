"""Opening a run: its tasks, its model and optimizer on the mesh, and the folder that is its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from polaris_jax.data import Tokenizer, TokenStore, load_chat_template, load_tokenizer
from polaris_jax.data.prompt_story import read_prompt_stories
from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.optim import make_schedule, stored_dtype
from polaris_jax.rl.chapters import chapter_tasks
from polaris_jax.rl.config import EXECUTION
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.passages import passages
from polaris_jax.rl.tasks import Task, prompt_tasks
from polaris_jax.sharding import make_mesh
from polaris_jax.training.loop import optimizer_of, read_model
from polaris_jax.training.run_folder import claim
from polaris_jax.training.state import TrainState, abstract_state


@dataclass(frozen=True)
class Run:
    """What a run is made of; nothing in it changes.

    Attributes:
      learner: with its config, model and mesh.
      abstract: shapes and shardings of the state.
      tasks, validation: what is written; counts: what was left out.
    """

    learner: Learner
    optimizer: optax.GradientTransformation
    abstract: TrainState
    tokenizer: Tokenizer
    tasks: list[Task]
    validation: list[Task]
    counts: dict[str, int]


def open_run(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Run:
    """Reads tasks and the model's config; loads no weights.

    Args:
      devices: of the mesh; default all.

    Raises:
      InputError: unreadable data or model, or a reasoning model's config without reasoning.
    """
    if jax.process_count() > 1:
        raise InputError("processes", jax.process_count(), "post-training runs in one process; use one host's devices")
    model = read_model(config.model.path)
    mesh = make_mesh(config.mesh, devices=devices)
    if model.recurrent and mesh.shape["context"] > 1:
        raise InputError("config.mesh.context", mesh.shape["context"], "must be 1 for models with recurrent layers")
    tokenizer = load_tokenizer(config.model.path)
    tasks, counts = _tasks(config, tokenizer, config.data.train, "train", config.data.limit)
    validation = []
    if config.data.validation:
        validation, _ = _tasks(config, tokenizer, config.data.validation, "validation", config.data.validation_limit)
    updates = config.train.steps * config.rl.epochs * config.rl.minibatches
    schedule = make_schedule(config.optim.schedule, config.optim.learning_rate, updates, config.optim.warmup)
    dtype = stored_dtype(config.optim.precision)
    optimizer, _ = optimizer_of(config, model, mesh, schedule, dtype)
    return Run(Learner(config, model, mesh, optimizer, schedule), optimizer,
               abstract_state(model, optimizer, mesh, jnp.dtype(dtype)), tokenizer, tasks, validation, counts)


def _tasks(config: ConfigDict, tokenizer: Tokenizer, source: str, split: str,
           limit: int) -> tuple[list[Task], dict[str, int]]:
    sizes = {"max_prompt": config.data.max_prompt_tokens, "max_response": config.rollout.max_tokens}
    if config.data.kind == "chapters":
        return chapter_tasks(TokenStore.open(source, tokenizer), tokenizer, split=split, limit=limit, **sizes)
    if config.data.kind == "passages":
        rows = passages([chapter.text for chapter in read_novel(source).chapters], *config.data.words, config.seed)
        cut = round(len(rows) * (1 - config.data.held_out))
        rows = rows[:cut] if split == "train" else rows[cut:]
    else:
        needed = split == "train" and (config.rl.objective == "orpo" or config.rl.reference.peak > 0)
        rows = read_prompt_stories(source, stories=needed, reasoning=needed and config.rl.thinking)
    if 0 < limit < len(rows):
        rows = [rows[i * len(rows) // limit] for i in range(limit)]
    template = load_chat_template(config.model.path, tokenizer)
    return prompt_tasks(rows, template, thinking=config.rl.thinking, as_released=config.rl.as_released, **sizes)


def data_state(run: Run, step: int) -> dict:
    """What a checkpoint says about the tasks, so that a run resumes on the same ones only."""
    digest = hashlib.sha256()
    for task in run.tasks:
        digest.update(task.uid.encode() + task.prompt.tobytes() + (
            b"" if task.reference is None else task.reference.tobytes()))
    return {"step": step, "tasks": digest.hexdigest()}


def claim_folder(workdir: str, run: Run) -> None:
    """Makes the folder this run's own, or checks that it is.

    Raises:
      InputError: it belongs to another run, or cannot hold a checkpoint.
    """
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(run.abstract))
    claim(workdir, run.learner.config, data_state(run, 0), size, EXECUTION)
