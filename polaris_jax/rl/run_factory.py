"""Opens a run: its tasks, its model and optimizer on the mesh, and its own folder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from polaris_jax.data import Tokenizer, TokenStore, load_chat_template, load_tokenizer
from polaris_jax.data.prompt_story import read_prompt_stories
from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.rl.chapters import chapter_tasks
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.passages import passages
from polaris_jax.rl.tasks import RlTask, prompt_tasks
from polaris_jax.training.run_folder import init_workdir
from polaris_jax.training.setup import Setup, set_up


@dataclass(frozen=True)
class RlRun:
    """The parts of a run; immutable.

    Attributes:
      learner: with its config, model and mesh.
      setup: model, mesh and optimizer, shapes and shardings of the state.
      tasks, validation: the tasks to write; counts: what was left out.
    """

    learner: Learner
    setup: Setup
    tokenizer: Tokenizer
    tasks: list[RlTask]
    validation: list[RlTask]
    counts: dict[str, int]


def make_run(config: RlConfig, devices: Sequence[jax.Device] | None = None) -> RlRun:
    """Reads tasks and the model's config; loads no weights.

    Args:
      devices: for the mesh; default: all.

    Raises:
      InputError: unreadable data or model, or a reasoning model's config without reasoning.
    """
    tokenizer, tasks, validation, counts = read_tasks(config)
    setup = set_up(config, devices=devices, updates=config.train.steps * config.rl.epochs * config.rl.minibatches)
    learner = Learner(config, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
    return RlRun(learner, setup, tokenizer, tasks, validation, counts)


def read_tasks(config: RlConfig) -> tuple[Tokenizer, list[RlTask], list[RlTask], dict[str, int]]:
    """``(tokenizer, tasks, validation, counts of what was left out)``.

    Raises:
      InputError: unreadable data or tokenizer, or no human text where ORPO needs one.
    """
    tokenizer = load_tokenizer(config.model.path)
    tasks, counts = _tasks(config, tokenizer, config.data.train, "train", config.data.limit)
    if config.rl.objective == "orpo" and all(task.human_reference is None for task in tasks):
        raise InputError("config.data.train", config.data.train, "has no human text that ORPO could prefer")
    validation: list[RlTask] = []
    if config.data.validation:
        validation, _ = _tasks(config, tokenizer, config.data.validation, "validation", config.data.validation_limit)
    return tokenizer, tasks, validation, counts


def _tasks(
    config: RlConfig, tokenizer: Tokenizer, source: str, split: str, limit: int
) -> tuple[list[RlTask], dict[str, int]]:
    sizes = {"max_prompt": config.data.max_prompt_tokens, "max_response": config.rollout.max_tokens}
    if config.data.kind == "chapters":
        return chapter_tasks(TokenStore.open(source, tokenizer), tokenizer, split=split, limit=limit, **sizes)
    if config.data.kind == "passages":
        rows = passages([chapter.text for chapter in read_novel(source).chapters], *config.data.words, config.seed)
        cut = round(len(rows) * (1 - config.data.held_out))
        rows = rows[:cut] if split == "train" else rows[cut:]
    else:
        needed = split == "train" and (config.rl.objective == "orpo" or config.rl.human_reference.peak > 0)
        rows = read_prompt_stories(source, stories=needed, reasoning=needed and config.rl.thinking)
    if 0 < limit < len(rows):
        rows = [rows[i * len(rows) // limit] for i in range(limit)]
    template = load_chat_template(config.model.path, tokenizer)
    return prompt_tasks(rows, template, thinking=config.rl.thinking, as_released=config.rl.as_released, **sizes)


def data_state(run: RlRun, step: int) -> dict:
    """What a checkpoint stores about the tasks, so that a run resumes only on the same tasks."""
    digest = hashlib.sha256()
    for task in run.tasks:
        digest.update(
            task.uid.encode()
            + task.prompt.tobytes()
            + (b"" if task.human_reference is None else task.human_reference.tobytes())
        )
    return {"step": step, "tasks": digest.hexdigest()}


def init_folder(workdir: str, run: RlRun) -> None:
    """Claims the folder for this run, or checks that it belongs to this run.

    Raises:
      InputError: the folder belongs to another run, or cannot hold a checkpoint.
    """
    init_workdir(workdir, run.learner.config, data_state(run, 0), run.setup.checkpoint_bytes)
