"""What a step has produced, written down as it comes, so that a killed step goes on instead of beginning again.

``WORKDIR/steps/000012.jsonl`` holds, one JSON object a line: every rollout (tokens, log-probabilities, text), every
reward with the judge's raw replies, those of human references included. A line that a kill cut off is dropped. Rollouts
are functions of (weights, seed, step, place in the group), so what is missing is written again to the same tokens. A
judgement that failed is on record and not final: whoever reads the step again asks again.

In a bucket the file is put whole every few seconds, and at its end. What a kill loses of it costs no money: rollouts
are written again to the same tokens, and the judge's replies are in its cache as they come.
"""

import base64
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from polaris_jax import storage
from polaris_jax.training import cluster

FOLDER = "steps"
BETWEEN_PUTS = 10.0  # seconds between two writes of the file to a bucket, at least


@dataclass(frozen=True)
class Rollout:
    """One response of the policy.

    Attributes:
      task: its task's uid; member: place in the group.
      tokens: ``[T] int32``, the end token included when it was drawn.
      logprobs: ``[T] float32`` nats, under the distribution they were drawn from.
      text: decoded, without control tokens; of a think-prefix rollout the prefix is not part of it.
      finish: ``stop`` or ``length``.
      prefixed: it was written after the human reference's reasoning.
    """

    task: str
    member: int
    tokens: np.ndarray
    logprobs: np.ndarray
    text: str
    finish: str
    prefixed: bool = False

    def to_json(self) -> dict:
        """Plain values; arrays to the bit, as base64 of little-endian bytes."""
        return {
            "kind": "rollout",
            "task": self.task,
            "member": self.member,
            "finish": self.finish,
            "prefixed": self.prefixed,
            "text": self.text,
            "tokens": _pack(self.tokens, "<i4"),
            "logprobs": _pack(self.logprobs, "<f4"),
        }

    @classmethod
    def from_json(cls, line: dict) -> "Rollout":
        """What ``to_json`` wrote."""
        return cls(
            line["task"],
            line["member"],
            _unpack(line["tokens"], "<i4"),
            _unpack(line["logprobs"], "<f4"),
            line["text"],
            line["finish"],
            line["prefixed"],
        )


@dataclass(frozen=True)
class Reward:
    """What a response is worth.

    Attributes:
      task, member: of the rollout; member -1 is the human reference.
      breakdown: ``RewardBreakdown.to_json()``; its ``scalar`` is None when the judgement failed.
      judgement: ``Judgement.to_json()`` (raw replies), or None when nobody judged.
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
        """Why the judge gave no scores of a story; None when it did, when nobody judges or there is no story."""
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
      lines: what the first process found there, in a process that keeps no record of its own; None reads the file.

    Attributes:
      stem: address of the step's files without their endings; path: of the record.
      rollouts, rewards: by (task uid, member), what it found and what came; of the rewards it found, the judged ones.
      failures: the rewards it found that the judge owes.
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
        """What another process takes over: rollouts and rewards, failed ones that were found included."""
        found: list[Rollout | Reward] = [*self.rollouts.values(), *self.failures.values(), *self.rewards.values()]
        return [one.to_json() for one in found]

    def take(self, lines: Iterable[dict]) -> None:
        """Remembers what another process has on record."""
        for line in lines:
            self._remember((Rollout if line["kind"] == "rollout" else Reward).from_json(line))

    def add(self, found: Rollout | Reward) -> None:
        """Writes it down; on a disk it survives a kill from now on. Thread-safe."""
        with self._lock:
            self._remember(found)
            if self._lines is not None:
                self._lines.append(found.to_json())
                if time.monotonic() - self._put > BETWEEN_PUTS:
                    self._lines.flush()
                    self._put = time.monotonic()

    def close(self) -> None:
        """Ends the record; once is enough."""
        with self._lock:
            if self._lines is not None:
                self._lines.close()

    def changed(self) -> bool:
        """Whether a reward that had failed has a scalar now; later steps were then written with the wrong weights."""
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
    """The record of a step in every process of a run; the first alone keeps it on disk. All must call this."""
    if jax.process_count() == 1:
        return Journal(workdir, step, folder)
    own = Journal(workdir, step, folder) if cluster.is_first() else None
    lines = cluster.from_first(own and own.lines())
    return own or Journal(workdir, step, folder, lines=lines)


def read_journals(workdir: str | os.PathLike) -> Iterator[tuple[int, list[dict]]]:
    """``(step, lines)`` of every recorded step, in order."""
    folder = storage.join(os.fspath(workdir), FOLDER)
    for name in sorted(name for name in storage.names(folder) if name.endswith(".jsonl")):
        yield int(name.removesuffix(".jsonl")), storage.read_lines(storage.join(folder, name))


def _pack(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.asarray(array, dtype).tobytes()).decode()


def _unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).astype(dtype[1:])
