"""What is on disk while a book is written: ``artifact.txt``, the transcript, and ``run.json``, how it came about.

The transcript is the truth: a person may edit finished stages in it, and the run goes on from what it says.
``run.json`` is written first, so after a crash it may know one step too many; a record counts only if the transcript
still has its bytes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.sampling.export import write_atomically

TRANSCRIPT, RUN = "artifact.txt", "run.json"


@dataclass(frozen=True)
class StepRecord:
    """One accepted step.

    Attributes:
      name: the step's name; start, end: its characters in the transcript.
      sha256: of the transcript up to ``end``.
      capacity: cache slots while it was written.
      seed: of its draws; attempts: tries it took.
      reason: why the sampling stopped (``generate.Stretch``).
      sampled, forced, prefilled: tokens, of all attempts together.
      seconds: wall time.
      model_logprob: mean log-probability per sampled token of the accepted attempt, nats.
      notes: relaxations, cuts and length reports, in order.
    """

    name: str
    start: int
    end: int
    sha256: str
    capacity: int
    seed: int = 0
    attempts: int = 0
    reason: str = ""
    sampled: int = 0
    forced: int = 0
    prefilled: int = 0
    seconds: float = 0.0
    model_logprob: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass
class Ledger:
    """The two files of one output folder.

    Attributes:
      identity: what a continued run must have in common with the one that began: prompt, seed, profile, settings,
        tokenizer and model shape, as JSON values.
      steps: accepted steps that the transcript still contains, in order.
    """

    folder: Path
    identity: dict
    steps: list[StepRecord] = field(default_factory=list)
    verdict: dict | None = None

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
            said = json.loads(run.read_text()) if run.exists() else {}
            records = [StepRecord(**step | {"notes": tuple(step["notes"])}) for step in said.get("steps", [])]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError("out_dir", str(self.folder), f"holds a damaged run ({error}); use a new folder") from error
        theirs = said.get("identity", self.identity)
        for name, ours in self.identity.items():
            if theirs.get(name) != ours:
                raise InputError(
                    f"out_dir/{RUN} {name}", theirs.get(name), f"differs from {str(ours)[:80]!r}; use a new folder"
                )
        for record in records:
            if record.end > len(transcript) or _digest(transcript[: record.end]) != record.sha256:
                break
            self.steps.append(record)
        return transcript

    def add(self, transcript: str, **fields) -> None:
        """Records the step that ends the transcript, and writes both files."""
        self.steps.append(StepRecord(end=len(transcript), sha256=_digest(transcript), **fields))
        self._write_run()
        write_atomically(self.transcript_path, transcript.encode())

    def finish(self, verdict: dict) -> None:
        """Adds the verdict on the whole book."""
        self.verdict = verdict
        self._write_run()

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
            "verdict": self.verdict,
            "steps": [asdict(step) for step in self.steps],
        }
        write_atomically(self.run_path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
