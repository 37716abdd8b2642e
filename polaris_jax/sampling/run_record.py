"""A book's files while it is written: ``artifact.txt`` (the transcript) and ``run.json`` (the record of its steps).

The transcript is the source of truth: a person may edit finished stages in it, and the run continues from it.
``run.json`` is written first, so after a crash it may hold one step too many; a step's record counts only if the
transcript still has its bytes.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.sampling.export import RUN, TRANSCRIPT
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.trajectory import Profile

GIVEN = "given"  # name of a record whose text was not sampled: edited by a person, or given at the start


@dataclass(frozen=True)
class StepRecord:
    """One accepted step.

    Attributes:
      name: the step's name; start, end: its characters in the transcript.
      sha256: of the transcript up to ``end``.
      seed: of its samples; attempts: how many it took; temperature, top_k: of the accepted one (top_k 0: off).
      reason: why the sampling stopped (``generate.Continuation``); ``given``: the grammar left no choice.
      sampled, forced, prefilled: tokens, of all attempts together.
      seconds: wall time.
      model_logprob: mean log-probability per sampled token of the accepted attempt, nats; None from a server.
      notes: refused attempts with their seeds, relaxations, cuts and length reports, in order.
    """

    name: str
    start: int
    end: int
    sha256: str
    seed: int = 0
    attempts: int = 0
    temperature: float = 0.0
    top_k: int = 0
    reason: str = ""
    sampled: int = 0
    forced: int = 0
    prefilled: int = 0
    seconds: float = 0.0
    model_logprob: float | None = 0.0
    notes: tuple[str, ...] = ()


def book_identity(
    model: dict[str, Any], prompt: str, profile: Profile, seed: int, settings: WriterSettings
) -> dict[str, Any]:
    """The properties that make two runs the same book, as JSON values; ``model`` is ``BookModel.identity``."""
    identity = {"prompt": prompt, "seed": seed, "profile": asdict(profile), "settings": asdict(settings)}
    return json.loads(json.dumps(identity | model))


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing in ``folder``; a killed process leaves no lock.

    Raises:
      InputError: another process has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            advice = "another process is writing a book there; wait for it or use a new folder"
            raise InputError("out_dir", str(folder), advice) from error
        for name in (TRANSCRIPT, RUN):
            for leftover in folder.glob(f".{name}.*"):  # of a process killed between writing and renaming
                leftover.unlink()
        yield
    finally:
        os.close(descriptor)


@dataclass
class RunRecord:
    """The two files of one output folder.

    Attributes:
      identity: what a resumed run must have in common with the one that began: prompt, seed, profile, settings,
        tokenizer, model shape and weights, as JSON values.
      steps: records of the accepted steps that the transcript still contains, in order.
      end: how the run ended (``finish``) if the transcript is still the one it ended with, else None.
      exported: names of the text and EPUB files made of it.
    """

    folder: Path
    identity: dict
    steps: list[StepRecord] = field(default_factory=list)
    end: dict | None = None
    exported: list[str] = field(default_factory=list)

    @property
    def transcript_path(self) -> Path:
        return self.folder / TRANSCRIPT

    @property
    def run_path(self) -> Path:
        return self.folder / RUN

    def resume(self) -> str | None:
        """Reads what an earlier run left; returns the transcript, or None in a fresh folder.

        Raises:
          InputError: the folder holds a book of another prompt or other settings, or damaged files.
        """
        artifact, run = self.transcript_path, self.run_path
        if not artifact.exists():
            return None
        try:
            transcript = artifact.read_bytes().decode()
            stored = json.loads(run.read_text()) if run.exists() else {}
            records = [StepRecord(**step | {"notes": tuple(step["notes"])}) for step in stored.get("steps", [])]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError("out_dir", str(self.folder), f"holds a damaged run ({error}); use a new folder") from error
        theirs = stored.get("identity", self.identity)
        for name, ours in self.identity.items():
            if theirs.get(name) != ours:
                raise InputError(
                    f"out_dir/{RUN} {name}", theirs.get(name), f"differs from {str(ours)[:80]!r}; use a new folder"
                )
        for record in records:
            if record.end > len(transcript) or _digest(transcript[: record.end]) != record.sha256:
                break
            self.steps.append(record)
        end = stored.get("end")
        self.end = end if end and end["sha256"] == _digest(transcript) else None
        self.exported = list(stored.get("exported", []))
        return transcript

    def add(self, transcript: str, **fields: Any) -> None:
        """Records the step that ends the transcript, and writes both files."""
        self.end = None
        self.steps.append(StepRecord(end=len(transcript), sha256=_digest(transcript), **fields))
        self._write_run()
        storage.write(self.transcript_path, transcript.encode())

    def discard_unstarted(self, made_folder: bool) -> None:
        """Removes the files of a refused call, unless a model wrote some of the text.

        Args:
          made_folder: this call made the folder; it is removed too if nothing else is in it.
        """
        if any(step.name not in ("prompt", GIVEN) for step in self.steps):
            return
        for path in (self.transcript_path, self.run_path):
            path.unlink(missing_ok=True)
        if made_folder and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def finish(self, transcript: str, how: str, verdict: dict, exported: list[str]) -> None:
        """Records how the run ended, the verdict on the whole book, and the names of its readable files.

        A file that an earlier run exported under another title is removed: it holds another text.
        """
        self.steps = [record for record in self.steps if record.end <= len(transcript)]
        self.end = {"how": how, "sha256": _digest(transcript), **verdict}
        stale, self.exported = set(self.exported) - set(exported), exported
        self._write_run()
        if self.transcript_path.read_bytes() != transcript.encode():
            storage.write(self.transcript_path, transcript.encode())
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)

    def totals(self) -> dict:
        """Tokens, seconds and rates of all steps."""
        summed = ("sampled", "forced", "prefilled", "seconds")
        sums = {name: sum(getattr(step, name) for step in self.steps) for name in summed}
        seconds = sums["seconds"] or 1.0
        return sums | {
            "steps": len(self.steps),
            "retries": sum(max(step.attempts - 1, 0) for step in self.steps),
            "tokens_per_second": (sums["sampled"] + sums["forced"]) / seconds,
            "forced_share": sums["forced"] / max(sums["sampled"] + sums["forced"], 1),
        }

    def _write_run(self) -> None:
        content = {
            "identity": self.identity,
            "totals": self.totals(),
            "verdict": {name: self.end[name] for name in ("ok", "violations")} if self.end else None,
            "end": self.end,
            "exported": self.exported,
            "steps": [asdict(step) for step in self.steps],
        }
        storage.write(self.run_path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
