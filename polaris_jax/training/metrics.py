"""``metrics.jsonl``: one line per optimizer step, losses apart by stage role and by kind of token."""

import json
import os
from pathlib import Path

import numpy as np

from polaris_jax.trajectory import KINDS, ROLES

FILE = "metrics.jsonl"


def step_record(step: int, metrics: dict, seconds: float, devices: int) -> dict:
    """A JSON-ready line from a step's metrics.

    Losses are nats per supervised token; roles and kinds without supervised tokens in this step are left out.

    Args:
      step: 1 for the first step. seconds: wall time of the step. devices: of the mesh.
    """
    record = {"step": step}
    for name, value in metrics.items():
        if name in ("roles", "kinds"):
            labels = ROLES if name == "roles" else KINDS
            prefix = "loss/role/" if name == "roles" else "loss/"
            loss, weight = np.asarray(value)
            record.update({prefix + label: float(loss[i] / weight[i])
                           for i, label in enumerate(labels) if weight[i] > 0})
        else:
            record[name] = float(value)
    record["tokens"] = int(record["tokens"])
    record["step_time_s"] = seconds
    record["tokens_per_s"] = record["tokens"] / seconds
    record["tokens_per_s_per_device"] = record["tokens_per_s"] / devices
    return record


class MetricsFile:
    """Appends records to ``metrics.jsonl``; on resume, lines beyond the restored step are taken back."""

    def __init__(self, workdir: Path, resume_step: int):
        self.path = Path(workdir) / FILE
        kept = [line for line in read_metrics(workdir) if line["step"] <= resume_step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, record: dict) -> None:
        """Appends one line and flushes it, so that a killed run loses none."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(workdir: str | Path) -> list[dict]:
    """All complete lines of a run's ``metrics.jsonl`` (a line cut off by a kill is ignored), or ``[]``."""
    path = Path(workdir) / FILE
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def quarter_means(records: list[dict]) -> dict[str, tuple[float, float]]:
    """Per loss field, its mean over the first and over the last quarter of the steps (at least one step each)."""
    size = max(1, len(records) // 4)
    fields = sorted({name for record in records for name in record if name.startswith("loss")})
    means = {}
    for name in fields:
        ends = [[r[name] for r in part if name in r] for part in (records[:size], records[-size:])]
        if all(ends):
            means[name] = (float(np.mean(ends[0])), float(np.mean(ends[1])))
    return means
