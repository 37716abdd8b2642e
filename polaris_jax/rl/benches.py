"""Benchmarks during training: the loop writes their stories with the current weights; a ``BenchRunner`` judges them.

The benchmarks themselves are in ``polaris_jax.evals``, which this room does not import. The caller that starts a run
passes a ``BenchRunner`` (``polaris rl`` does).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from polaris_jax.data import ChatTemplate
from polaris_jax.data.prompt_story import PromptStory
from polaris_jax.errors import InputError
from polaris_jax.llm import Client
from polaris_jax.rewards import split_thinking
from polaris_jax.rl.collecting import sampling_options
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.journal import Rollout
from polaris_jax.rl.rollouts import RolloutRequest, seed_of, write_rollouts
from polaris_jax.rl.tasks import prompt_tasks
from polaris_jax.sampling import Engine

Writer = Callable[[Sequence[str]], list[str]]  # prompts → stories, "" where a prompt does not fit
_WRITING = 2**31 + 1  # for the seeds of benchmarks: a step number that no training step has


class BenchRunner(Protocol):
    """Runs one benchmark.

    Args of a call: its name; the number of prompts; the writer of stories; the judge; steps done; the run's folder.

    Returns of a call: the main measure under ``score``, other means, and the number of ``failed`` answers.
    """

    def __call__(
        self, name: str, limit: int, write: Writer, judge: Client, step: int, workdir: str
    ) -> dict[str, float]: ...


def check_benches(config: RlConfig, runner: BenchRunner | None) -> None:
    """Refuses benchmarks that the run cannot have.

    Raises:
      InputError: there is no runner or no judge, or the run's model has no chat template for their prompts.
    """
    names = config.validation.benches
    if not names:
        return
    if runner is None:
        raise InputError(
            "config.validation.benches", names, "polaris rl runs them; from Python, give post_train benches="
        )
    if config.judge.kind != "llm":
        raise InputError("config.validation.benches", names, "a model judges them: config.judge.kind=llm")
    if config.data.kind == "chapters":
        raise InputError(
            "config.validation.benches", names, "need a model with a chat template, which chapters have none of"
        )


def bench_writer(config: RlConfig, engine: Engine, template: ChatTemplate) -> Writer:
    """A writer of a benchmark's stories, with the sampling options of validation and the same seeds every time."""

    def write(prompts: Sequence[str]) -> list[str]:
        rows = [PromptStory(str(n), prompt) for n, prompt in enumerate(prompts)]
        try:
            tasks, _ = prompt_tasks(
                rows, template, thinking=config.rl.thinking, max_prompt=config.data.max_prompt_tokens
            )
        except InputError:  # no prompt fits; this must not end a run that is under way
            return [""] * len(prompts)
        requests = [
            (RolloutRequest(task.uid, 0, task), seed_of(config.seed, _WRITING, int(task.uid))) for task in tasks
        ]
        stories = [""] * len(prompts)

        def keep(item: RolloutRequest, rollout: Rollout) -> None:
            stories[int(item.task.uid)] = split_thinking(rollout.text, opened=item.task.opened).story.strip()

        write_rollouts(engine, requests, sampling_options(config, "validation_"), config.rollout.max_tokens, keep)
        return stories

    return write
