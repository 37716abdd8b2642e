"""Records what a step produces as it comes, so that a killed step continues instead of starting again.

``WORKDIR/steps/000012.jsonl`` holds one JSON object per line: every rollout (tokens, log-probabilities, text) and every
reward with the judge's raw replies, also of human references. A line that a kill cut off is dropped. Rollouts are
functions of (weights, seed, step, place in the group), so missing ones are written again with the same tokens. A
failed judgement is recorded but not final: the next process that reads the step asks again.

In a bucket the whole file is written every few seconds, and at the end. A kill may lose the newest lines, but no money:
rollouts are written again with the same tokens, and the judge's replies are cached at once.
"""

import base64
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from polaris_jax import storage
from polaris_jax.training import cluster

FOLDER = "steps"
BETWEEN_PUTS = 10.0  # least seconds between two writes of the file to a bucket


@dataclass(frozen=True)
class Rollout:
    """One response of the policy.

    Attributes:
      task: its task's uid; member: place in the group.
      tokens: ``[T] int32``, with the end token if it was sampled.
      logprobs: ``[T] float32`` nats, under the distribution the tokens were sampled from.
      model_logprobs: ``[T] float32`` nats, under the sampler's model itself, before filters and penalties.
      text: decoded, without control tokens and without the prefix of a think-prefix rollout.
      finish: ``stop`` or ``length``.
      prefixed: whether it was written after the human reference's reasoning.
    """

    task: str
    member: int
    tokens: np.ndarray
    logprobs: np.ndarray
    model_logprobs: np.ndarray
    text: str
    finish: str
    prefixed: bool = False

    def to_json(self) -> dict:
        """The rollout as JSON values; arrays are exact, as base64 of little-endian bytes."""
        return {
            "kind": "rollout",
            "task": self.task,
            "member": self.member,
            "finish": self.finish,
            "prefixed": self.prefixed,
            "text": self.text,
            "tokens": _pack(self.tokens, "<i4"),
            "logprobs": _pack(self.logprobs, "<f4"),
            "model_logprobs": _pack(self.model_logprobs, "<f4"),
        }

    @classmethod
    def from_json(cls, line: dict) -> "Rollout":
        """Reads what ``to_json`` wrote; without ``model_logprobs`` (earlier versions) as if nothing was filtered."""
        return cls(
            line["task"],
            line["member"],
            _unpack(line["tokens"], "<i4"),
            _unpack(line["logprobs"], "<f4"),
            _unpack(line.get("model_logprobs", line["logprobs"]), "<f4"),
            line["text"],
            line["finish"],
            line["prefixed"],
        )


@dataclass(frozen=True)
class Reward:
    """The reward of a response.

    Attributes:
      task, member: as in the rollout; member -1 is the human reference.
      breakdown: ``RewardBreakdown.to_json()``; its ``scalar`` is None when the judgement failed.
      judgement: ``Judgement.to_json()`` (raw replies), or None without a judge.
    """

    task: str
    member: int
    breakdown: dict
    judgement: dict | None

    @property
    def scalar(self) -> float | None:
        """The reward, or None."""
        return self.breakdown["scalar"]

    @property
    def failed(self) -> str | None:
        """Why the judge gave no scores; None when it gave some, or when there is no judge or no story."""
        failed = None if self.judgement is None else self.judgement["failed"]
        return None if failed == "no_story" else failed or self.breakdown["failed"]

    def to_json(self) -> dict:
        """Plain values."""
        return {
            "kind": "reward",
            "task": self.task,
            "member": self.member,
            "reward": self.breakdown,
            "judgement": self.judgement,
        }

    @classmethod
    def from_json(cls, line: dict) -> "Reward":
        """What ``to_json`` wrote."""
        return cls(line["task"], line["member"], line["reward"], line["judgement"])


class Journal:
    """The record of one step.

    Args:
      workdir: local or gs://.
      lines: what the first process found there, for a process that keeps no file of its own; None reads the file.

    Attributes:
      stem: address of the step's files without their endings; path: address of the record.
      rollouts, rewards: by (task uid, member), those found in the file and those added. Failed rewards of the file are
        not among them.
      failures: rewards of the file whose judgement failed.
    """

    def __init__(
        self, workdir: str | os.PathLike, step: int, folder: str = FOLDER, *, lines: Sequence[dict] | None = None
    ):
        self._folder, self._step = storage.join(os.fspath(workdir), folder), step
        self.stem = storage.join(self._folder, f"{step:06d}")
        self.path = f"{self.stem}.jsonl"
        self.rollouts: dict[tuple[str, int], Rollout] = {}
        self.rewards: dict[tuple[str, int], Reward] = {}
        self.take(storage.read_lines(self.path) if lines is None else lines)
        self.failures = {key: reward for key, reward in self.rewards.items() if reward.failed}
        for key in self.failures:
            del self.rewards[key]
        self.resumed = len(self.rollouts)
        self._lock = threading.Lock()
        self._lines = storage.JsonLinesFile(self.path) if lines is None else None
        self._put = time.monotonic()

    def lines(self) -> list[dict]:
        """All rollouts and rewards for another process to ``take``, with the failed rewards of the file."""
        found: list[Rollout | Reward] = [*self.rollouts.values(), *self.failures.values(), *self.rewards.values()]
        return [one.to_json() for one in found]

    def take(self, lines: Iterable[dict]) -> None:
        """Takes over the ``lines`` of another process."""
        for line in lines:
            self._remember((Rollout if line["kind"] == "rollout" else Reward).from_json(line))

    def add(self, found: Rollout | Reward) -> None:
        """Appends a rollout or reward. On a disk it then survives a kill. Thread-safe."""
        with self._lock:
            self._remember(found)
            if self._lines is not None:
                self._lines.append(found.to_json())
                if time.monotonic() - self._put > BETWEEN_PUTS:
                    self._lines.flush()
                    self._put = time.monotonic()

    def close(self) -> None:
        """Closes the record of the step."""
        with self._lock:
            if self._lines is not None:
                self._lines.close()

    def changed(self) -> bool:
        """Whether a failed reward now has a scalar. Then later steps were written with the wrong weights."""
        return any(
            key in self.rewards and self.rewards[key].scalar != before.scalar for key, before in self.failures.items()
        )

    def drop_later(self) -> int:
        """Deletes the records of later steps; returns how many there were. The judge's replies stay in their cache."""
        later = {name for name in storage.names(self._folder) if name.split(".")[0] > f"{self._step:06d}"}
        storage.delete(self._folder, later)
        return len({name.split(".")[0] for name in later})

    def _remember(self, found: Rollout | Reward) -> None:
        if isinstance(found, Rollout):
            self.rollouts[found.task, found.member] = found
        else:
            self.rewards[found.task, found.member] = found


def open_journal(workdir: str | os.PathLike, step: int, folder: str = FOLDER) -> Journal:
    """Opens the record of a step in every process of a run. All must call it; only the first keeps it on disk."""
    if jax.process_count() == 1:
        return Journal(workdir, step, folder)
    own = Journal(workdir, step, folder) if cluster.is_first() else None
    lines = cluster.from_first(own and own.lines())
    return own or Journal(workdir, step, folder, lines=lines)


def _pack(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.asarray(array, dtype).tobytes()).decode()


def _unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).astype(dtype[1:])
