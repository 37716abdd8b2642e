"""Rewards in the background: judges are asked in threads while the mesh goes on writing."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from polaris_jax.rewards import Judge, RewardSpec, TokenCounts, score, split_thinking
from polaris_jax.rl.journal import Reward
from polaris_jax.rl.tasks import Task


class Rewarder:
    """Scores responses as they come.

    Args:
      judge: asked about every story; None: programmatic components alone.
      as_released: the released trainer's arithmetic, in which a failed judgement is a score.

    Attributes:
      judge: as given.
      busy: seconds that threads have spent on rewards, waiting for judges included.
    """

    def __init__(self, judge: Judge | None, *, as_released: bool = False):
        self.judge, self._as_released = judge, as_released
        self._pool = ThreadPoolExecutor(judge.concurrency if judge else 1, thread_name_prefix="reward")
        self._lock = threading.Lock()
        self.busy = 0.0

    def submit(
        self, group: str, member: int, task: Task, text: str, spec: RewardSpec, *, tokens: TokenCounts | None = None,
        done: Callable[[Reward], None],
    ) -> Future:
        """Begins one reward; ``done`` gets it, in the thread that made it, one at a time.

        The future raises what the judge raised: ``BudgetSpent`` and ``InputError`` only, everything else is a reward
        without a scalar.

        Args:
          member: -1 is the reference.
          text: the whole response, thinking included, decoded.
        """

        spec = dataclasses.replace(spec, thinking_opened=spec.thinking_opened or task.opened)

        def work() -> None:
            begun = time.perf_counter()
            response = task.story(text)
            judgement = None
            if self.judge is not None:
                story = split_thinking(response, opened=spec.thinking_opened, as_released=self._as_released).story
                judgement = self.judge.judge(task.request, story)
            breakdown = score(
                response, task.request, task.target_words, judgement=judgement, spec=spec, tokens=tokens,
                is_reference=member < 0, as_released=self._as_released)
            with self._lock:
                self.busy += time.perf_counter() - begun
                done(Reward(group, member, breakdown.to_json(), judgement and judgement.to_json()))

        return self._pool.submit(work)

    def close(self) -> None:
        """Waits for what is running; what has not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)
        if self.judge is not None:
            self.judge.close()
