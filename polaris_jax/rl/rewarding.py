"""Computes rewards in the background: threads ask the judge while the mesh continues writing."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from polaris_jax.rewards import Judge, RewardSpec, TokenCounts, released, score, split_thinking
from polaris_jax.rl.journal import Reward
from polaris_jax.rl.outage import Outage
from polaris_jax.rl.tasks import RlTask


class Rewarder:
    """Scores responses as they come.

    Args:
      judge: asked about every story; None uses programmatic components only.
      as_released: the released trainer's arithmetic, in which a failed judgement is a score.
      outage: where its threads wait while the judge is away.

    Attributes:
      judge: as given.
      busy: seconds that threads have spent on rewards, including waiting for judges.
      failed_in_a_row: judgements that failed since the last new one that succeeded.
    """

    def __init__(self, judge: Judge | None, outage: Outage, *, as_released: bool = False):
        self.judge, self._outage, self._as_released = judge, outage, as_released
        self._pool = ThreadPoolExecutor(judge.concurrency if judge else 1, thread_name_prefix="reward")
        self._lock = threading.Lock()
        self.busy, self.failed_in_a_row = 0.0, 0

    def submit(
        self,
        group: str,
        member: int,
        task: RlTask,
        text: str,
        spec: RewardSpec,
        *,
        tokens: TokenCounts | None = None,
        done: Callable[[Reward], None],
    ) -> Future:
        """Starts one reward. ``done`` gets it in the thread that computed it; calls of ``done`` never overlap.

        The future raises the judge's ``BudgetSpent`` and ``InputError``, ``RunError`` when it cannot be asked at all,
        and ``Closed`` at the end of the run. A story that it could not judge gives a reward without a scalar.

        Args:
          member: -1 is the human reference.
          text: the whole response, thinking included, decoded.
        """

        spec = dataclasses.replace(spec, thinking_opened=spec.thinking_opened or task.opened)

        def work() -> None:
            begun = time.perf_counter()
            response = task.story(text)
            judgement = None
            if (judge := self.judge) is not None:
                story = (
                    released.split_thinking(response)
                    if self._as_released
                    else split_thinking(response, opened=spec.thinking_opened)
                ).story
                judgement = self._outage.ask(lambda: judge.judge(task.request, story))
            breakdown = score(
                response,
                task.request,
                task.target_words,
                judgement=judgement,
                spec=spec,
                tokens=tokens,
                is_human_reference=member < 0,
                human_reference_words=task.human_reference_words,
                as_released=self._as_released,
            )
            with self._lock:
                if judgement is not None and judgement.failed not in (None, "no_story"):
                    self.failed_in_a_row += 1
                elif judgement is not None and not judgement.cached:
                    self.failed_in_a_row = 0
                self.busy += time.perf_counter() - begun
                done(Reward(group, member, breakdown.to_json(), None if judgement is None else judgement.to_json()))

        return self._pool.submit(work)

    @property
    def paused(self) -> float:
        """Seconds for which the judge has been away so far."""
        return self._outage.paused

    def close(self) -> None:
        """Waits for running rewards. Those not begun, or waiting for an absent judge, are dropped."""
        self._outage.close()
        self._pool.shutdown(cancel_futures=True)
        if self.judge is not None:
            self.judge.close()
