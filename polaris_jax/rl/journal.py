"""What a step has produced, written down as it comes, so that a killed step goes on instead of beginning again.

``WORKDIR/steps/000012.jsonl`` holds, one JSON object a line: every rollout (tokens, log-probabilities, text), every
reward with the judge's raw replies, those of references included. A line that a kill cut off is dropped. Rollouts are
functions of (weights, seed, step, place in the group), so what is missing is written again to the same tokens.
"""

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polaris_jax import storage

FOLDER = "steps"


@dataclass(frozen=True)
class Rollout:
    """One response of the policy.

    Attributes:
      task: its task's uid; member: place in the group.
      tokens: ``[T] int32``, the end token included when it was drawn.
      logprobs: ``[T] float32`` nats, under the distribution they were drawn from.
      text: decoded, without control tokens; of a think-prefix rollout the prefix is not part of it.
      finish: ``stop`` or ``length``.
      prefixed: it was written after the reference's reasoning.
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
        return {"kind": "rollout", "task": self.task, "member": self.member, "finish": self.finish,
                "prefixed": self.prefixed, "text": self.text, "tokens": _pack(self.tokens, "<i4"),
                "logprobs": _pack(self.logprobs, "<f4")}

    @classmethod
    def from_json(cls, line: dict) -> "Rollout":
        """What ``to_json`` wrote."""
        return cls(line["task"], line["member"], _unpack(line["tokens"], "<i4"), _unpack(line["logprobs"], "<f4"),
                   line["text"], line["finish"], line["prefixed"])


@dataclass(frozen=True)
class Reward:
    """What a response is worth.

    Attributes:
      task, member: of the rollout; member -1 is the reference.
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

    def to_json(self) -> dict:
        """Plain values."""
        return {"kind": "reward", "task": self.task, "member": self.member, "reward": self.breakdown,
                "judgement": self.judgement}

    @classmethod
    def from_json(cls, line: dict) -> "Reward":
        """What ``to_json`` wrote."""
        return cls(line["task"], line["member"], line["reward"], line["judgement"])


class Journal:
    """The record of one step; ``rollouts`` and ``rewards`` by (task uid, member) hold what it found and what came."""

    def __init__(self, workdir: str | Path, step: int, folder: str = FOLDER):
        folder = Path(workdir) / folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{step:06d}.jsonl"
        self.rollouts: dict[tuple[str, int], Rollout] = {}
        self.rewards: dict[tuple[str, int], Reward] = {}
        for line in storage.read_lines(str(self.path)):
            found = (Rollout if line["kind"] == "rollout" else Reward).from_json(line)
            self._remember(found)
        self.resumed = len(self.rollouts)
        self._lock = threading.Lock()
        self._lines = storage.Lines(str(self.path))

    def add(self, found: Rollout | Reward) -> None:
        """Writes it down; it survives a kill from now on. Thread-safe."""
        with self._lock:
            self._remember(found)
            self._lines.append(found.to_json())

    def close(self) -> None:
        """Ends the record."""
        self._lines.close()

    def _remember(self, found: Rollout | Reward) -> None:
        (self.rollouts if isinstance(found, Rollout) else self.rewards)[found.task, found.member] = found


def read_journals(workdir: str | Path) -> Iterator[tuple[int, list[dict]]]:
    """``(step, lines)`` of every recorded step, in order."""
    for path in sorted((Path(workdir) / FOLDER).glob("*.jsonl")):
        yield int(path.stem), storage.read_lines(str(path))


def _pack(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.asarray(array, dtype).tobytes()).decode()


def _unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).astype(dtype[1:])
