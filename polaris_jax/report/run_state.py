"""The state of a training run, read from its files: progress, speed, and health.

It needs only the run's folder, local or in a bucket, not its processes. So it works during the run and long after.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.report.curves import ROLE_PREFIX, Change, change, loss_kinds, loss_roles, median, values
from polaris_jax.report.formats import duration, is_number
from polaris_jax.training.checkpoint import CHECKPOINTS
from polaris_jax.training.events import FILE as EVENTS
from polaris_jax.training.events import goodput, read_events
from polaris_jax.training.metrics import FILE as METRICS
from polaris_jax.training.metrics import read_metrics

RECENT = 50  # medians are over this many last steps
# A run is stale when nothing was written for the time of this many of its steps, and at least for a minute.
STALE_STEPS, STALE_SECONDS = 10, 60.0
JUDGE_STATUS = "judge.json"  # in post-training: whether the judge answers
JUDGE_SILENCE = 1800.0  # seconds; a question to an absent judge takes no longer, including retries


@dataclass(frozen=True)
class NewestCheckpoint:
    """The newest checkpoint and the seconds since it was written."""

    step: int
    age_s: float


@dataclass(frozen=True)
class SlowestProcess:
    """The process that was most often the last, with its share of the last steps and its delay (median, seconds).

    Attributes:
      host: its name, "" when unknown.
    """

    process: int
    host: str
    share: float
    seconds: float


@dataclass(frozen=True)
class RunState:
    """The state of a run at one moment.

    Attributes:
      health: ``starting`` (no step yet), ``running``, ``paused`` (the judge is away), ``stale`` (nothing written for
        long), ``failed`` (the run gave up and says why) or ``finished``.
      sentence: the health in words, with times.
      steps: number of steps of the run; None when ``run.json`` is missing.
      step_seconds, tokens_per_second, tokens_per_second_per_device, mfu: medians of the last steps, None when unknown.
      losses: first and last quarter of every loss: the total first, then kinds, roles and other metrics named loss.
      slowest: the slowest process of a run of several processes, else None.
      goodput: share of the time in steps that count, and the lost time by cause in seconds; empty when unknown.
      records, config: the lines of ``metrics.jsonl``, and the flat config of ``run.json``.
    """

    workdir: str
    health: str
    sentence: str
    step: int
    steps: int | None
    eta_s: float | None
    age_s: float | None
    step_seconds: float | None
    tokens_per_second: float | None
    tokens_per_second_per_device: float | None
    mfu: float | None
    tokens: float
    checkpoint: NewestCheckpoint | None
    losses: tuple[Change, ...]
    goodput: dict[str, float]
    slowest: SlowestProcess | None
    records: tuple[dict, ...]
    config: dict

    def to_json(self) -> dict:
        """Everything except the records; ``losses`` by name as first, last and latest value."""
        latest = {one.name: values(self.records, one.name)[-1] for one in self.losses}
        return {name: value for name, value in asdict(self).items() if name not in ("records", "config", "losses")} | {
            "losses": {one.name: {"first": one.first, "last": one.last, "now": latest[one.name]} for one in self.losses}
        }


def run_folder(path: str | os.PathLike) -> str:
    """The folder of a training run: the path itself, or ``run/`` in the folder of a demo.

    Raises:
      InputError: neither holds a run.
    """
    folder = os.fspath(path).rstrip("/")
    for candidate in (folder, storage.join(folder, "run")):
        for name in (METRICS, EVENTS, "run.json"):
            if storage.read(storage.join(candidate, name)) is not None:
                return candidate
    raise InputError("WORKDIR", folder, f"holds no training run (none of {METRICS}, {EVENTS}, run.json)")


def read_state(path: str | os.PathLike, now: float | None = None) -> RunState:
    """The state of the run in ``path`` (``run_folder``) at ``now`` (seconds since 1970; default: the current time).

    Raises:
      InputError: there is no run.
    """
    workdir, now = run_folder(path), time.time() if now is None else now
    records = [line for line in read_metrics(workdir) if is_number(line.get("step"))]
    events = read_events(workdir)
    config = (storage.read_json(storage.join(workdir, "run.json")) or {}).get("config") or {}
    step = int(records[-1]["step"]) if records else 0
    planned = config.get("train.steps")
    steps = int(planned) if is_number(planned) else None
    recent = records[1:][-RECENT:] or records  # the first step also compiles
    seconds = median(values(recent, "step_time_s"))
    moved = _last_sign(workdir, events)
    age = None if moved is None else max(0.0, now - moved)
    dump = f"failure-{step + 1}.json"
    if storage.read(storage.join(workdir, dump)) is not None:
        health, sentence = "failed", f"step {step + 1} had no finite gradients, nor had those before; see {dump}"
    else:
        health, sentence = _judge_health(workdir, now) or _health(step, steps, age, seconds)
    shares = goodput(events)
    return RunState(
        workdir=workdir,
        health=health,
        sentence=sentence,
        step=step,
        steps=steps,
        eta_s=None if steps is None or seconds is None else max(0, steps - step) * seconds,
        age_s=age,
        step_seconds=seconds,
        tokens_per_second=median(values(recent, "tokens_per_s")),
        tokens_per_second_per_device=median(values(recent, "tokens_per_s_per_device")),
        mfu=median(values(recent, "mfu")),
        tokens=sum(values(records, "tokens")),
        checkpoint=_newest_checkpoint(workdir, events, now),
        losses=_losses(records),
        goodput=shares,
        slowest=_slowest_process(recent, events),
        records=tuple(records),
        config=config,
    )


def _losses(records: Sequence[dict]) -> tuple[Change, ...]:
    names = [
        "loss",
        *(f"loss/{kind}" for kind in loss_kinds(records)),
        *(ROLE_PREFIX + role for role in loss_roles(records)),
    ]
    others = sorted({name for record in records for name in record if "loss" in name} - set(names))
    return tuple(found for name in (*names, *others) if (found := change(records, name)))


def _slowest_process(records: Sequence[dict], events: Sequence[dict]) -> SlowestProcess | None:
    named = [record for record in records if is_number(record.get("slowest_process"))]
    if not named:
        return None
    counts = Counter(int(record["slowest_process"]) for record in named)
    process, times = counts.most_common(1)[0]
    behind = median(values([record for record in named if record["slowest_process"] == process], "slowest_process_s"))
    hosts = [event.get("hosts", []) for event in events if event.get("event") == "start"][-1:] or [[]]
    host = str(hosts[0][process]) if process < len(hosts[0]) else ""
    return SlowestProcess(process, host, times / len(named), behind or 0.0)


def _last_sign(workdir: str, events: Sequence[dict]) -> float | None:
    """Time of the run's last write, seconds since 1970."""
    times = [event["time"] for event in events[-1:] if is_number(event.get("time"))]
    if not storage.is_remote(workdir):
        times += [
            os.stat(file).st_mtime for name in (METRICS, EVENTS) if os.path.exists(file := storage.join(workdir, name))
        ]
    return max(times, default=None)


def _health(step: int, steps: int | None, age: float | None, seconds: float | None) -> tuple[str, str]:
    if steps is not None and step >= steps:
        return "finished", f"{duration(age)} ago" if age is not None else "all steps done"
    patience = max(STALE_SECONDS, STALE_STEPS * (seconds or 0.0))
    if age is not None and age > patience:
        usual = f"; a step takes {duration(seconds)}" if seconds else ""
        return "stale", f"nothing written for {duration(age)}{usual}: look at the processes, or start the run again"
    if not step:
        return "starting", "no step yet: loading and compiling"
    return "running", f"last step {duration(age)} ago" if age is not None else "running"


def _judge_health(workdir: str, now: float) -> tuple[str, str] | None:
    """Health and sentence of a run whose judge does not answer; None if it answers or there is no judge."""
    status = storage.read_json(storage.join(workdir, JUDGE_STATUS)) or {}
    why = f"{status.get('kind')}: {status.get('detail')}"
    if status.get("state") == "hopeless":
        return "failed", f"the judge cannot be asked ({why}); correct config.judge and run the same command again"
    if status.get("state") != "away":
        return None
    silent = now - float(status.get("time") or 0.0)
    if silent > JUDGE_SILENCE:
        return (
            "stale",
            f"the judge was away ({why}), and nothing was written for {duration(silent)}; start the run again",
        )
    away = duration(max(0.0, now - float(status.get("since") or now)))
    return "paused", f"the judge has been away for {away} ({why}); asked {status.get('asked')} times, goes on by itself"


def _newest_checkpoint(workdir: str, events: Sequence[dict], now: float) -> NewestCheckpoint | None:
    """On a disk: the newest complete folder (an incomplete one has a longer name). In a bucket, where listing is slow:
    the last one in the run's events."""
    written = {event["step"]: event["time"] for event in events if event.get("event") == "checkpoint"}
    folder = storage.join(workdir, CHECKPOINTS)
    if not storage.is_remote(workdir):
        found = os.listdir(folder) if os.path.isdir(folder) else []
        written = {
            int(name): written.get(int(name), os.stat(storage.join(folder, name)).st_mtime)
            for name in found
            if name.isdigit()
        }
    return NewestCheckpoint(max(written), max(0.0, now - written[max(written)])) if written else None
