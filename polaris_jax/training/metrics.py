"""``metrics.jsonl``: one line per optimizer step, with losses by stage role and by kind of token; other loggers."""

import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.trajectory import KINDS, ROLES

FILE = "metrics.jsonl"
COUNTS = ("tokens", "skipped_steps", "skipped_in_a_row")


def loss_means(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """``{"loss/prose": nats per token, "loss/role/chapter_text": ...}`` of what was supervised at all.

    Args:
      sums: ``roles`` and ``kinds``, each ``[2, n]``: summed weighted loss, summed weight.
    """
    means: dict[str, float] = {}
    for name, labels, prefix in (("roles", ROLES, "loss/role/"), ("kinds", KINDS, "loss/")):
        loss, weight = np.asarray(sums[name])
        means |= {prefix + label: float(loss[i] / weight[i]) for i, label in enumerate(labels) if weight[i] > 0}
    return means


def step_record(
    step: int, metrics: dict, seconds: float, devices: int, *, flops: float = 0.0, peak: float = 0.0
) -> dict:
    """A JSON-ready line from a step's metrics.

    Losses are nats per supervised token; roles and kinds without supervised tokens in this step are left out.

    Args:
      step: 1 for the first step. seconds: wall time of the step. devices: of the mesh.
      flops: model FLOPs of the step, forward and backward; peak: FLOP/s of one device; both 0: no MFU.
    """
    counts = {name: int(value) for name, value in metrics.items() if name in COUNTS}
    numbers = {name: float(value) for name, value in metrics.items() if name not in ("roles", "kinds")}
    record = {"step": step, **numbers, **loss_means(metrics), **counts, "step_time_s": seconds}
    record["tokens_per_s"] = record["tokens"] / seconds
    record["tokens_per_s_per_device"] = record["tokens_per_s"] / devices
    if flops and peak:
        record["mfu"] = flops / (seconds * devices * peak)
    return record | _memory()


def _memory() -> dict[str, float]:
    """Bytes in use now and at peak on the fullest local device; empty when the backend does not say."""
    found = [stats for device in jax.local_devices() if (stats := device.memory_stats())]
    names = {"hbm_bytes": "bytes_in_use", "hbm_peak_bytes": "peak_bytes_in_use"}
    return {ours: max(stats.get(theirs, 0) for stats in found) for ours, theirs in names.items()} if found else {}


class MetricsFile:
    """Appends records to ``metrics.jsonl``. On resume, it removes lines after the restored step.

    JSON has no NaN and no infinity: such a number is written as ``null``.

    Args:
      workdir: local or gs://. resume_step: lines up to this step stay.
    """

    def __init__(self, workdir: str | Path, resume_step: int):
        address = storage.join(str(workdir), FILE)
        self._lines = storage.JsonLinesFile(address, keep=lambda line: line["step"] <= resume_step)
        self.flush, self.close = self._lines.flush, self._lines.close

    def write(self, record: dict) -> None:
        """Appends one line."""
        self._lines.append(storage.finite(record))


def read_metrics(workdir: str | Path) -> list[dict]:
    """All complete lines of a run's ``metrics.jsonl`` (a line cut off by a kill is ignored), or ``[]``.

    A ``null`` is read as NaN.
    """
    return [
        {name: math.nan if value is None else value for name, value in line.items()}
        for line in storage.read_lines(storage.join(str(workdir), FILE))
        if isinstance(line, dict)
    ]


class Loggers:
    """Where else a record goes: TensorBoard files in ``tensorboard/``, a project at Weights & Biases.

    Raises:
      InputError: what is asked for is not installed.
    """

    def __init__(self, workdir: str, *, tensorboard: bool, wandb: str, config: dict):
        self._board = self._run = None
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise InputError("config.train.tensorboard", True, "pip install tensorboardX") from None
            self._board = SummaryWriter(storage.join(workdir, "tensorboard"), flush_secs=30)
        if wandb:
            try:
                import wandb as service
            except ImportError:
                raise InputError("config.train.wandb", wandb, "pip install wandb") from None
            self._run = service.init(project=wandb, config=config, id=storage.name_of(workdir), resume="allow")

    def write(self, record: dict) -> None:
        """Passes a record to the loggers; its ``step`` is the x-axis."""
        numbers = {name: value for name, value in record.items() if name != "step"}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, record["step"])
        if self._run is not None:
            self._run.log(numbers, step=record["step"])

    def close(self) -> None:
        """Flushes and closes the loggers."""
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()


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
