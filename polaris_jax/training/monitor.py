"""What surrounds every step of a run: metrics, loggers, events, traces, and the end of a run that only skips steps.

Supervised and post-training loops share it, so every run writes the same files.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from polaris_jax import storage
from polaris_jax.errors import RunError
from polaris_jax.training import cluster
from polaris_jax.training.config import StepConfig, flatten
from polaris_jax.training.events import Events, goodput
from polaris_jax.training.metrics import Loggers, MetricsFile
from polaris_jax.training.profiling import Profiler


@dataclass
class StepTime:
    """``seconds`` of a step, once it is done."""

    seconds: float = 0.0


class RunMonitor:
    """Records a run in its folder; only the first process writes.

    Args:
      workdir: of the run, local or gs://. config: its ``train`` fields are read.
      resume_step: steps done before; lines of metrics beyond it are taken back.
      on_step: called with every record as it is written.
    """

    def __init__(self, workdir: str, config: StepConfig, resume_step: int, on_step: Callable[[dict], None]):
        self.workdir, self._config, self._on_step = workdir, config, on_step
        self.first = cluster.is_first()
        train = config.train
        self.events = Events(workdir, active=self.first)
        self._file = MetricsFile(workdir, resume_step) if self.first else None
        self._loggers = Loggers(
            workdir,
            tensorboard=train.tensorboard and self.first,
            wandb=train.wandb if self.first else "",
            config=flatten(config),
        )
        self._profiler = Profiler(workdir, train.profile_first, train.profile_steps)

    @contextmanager
    def step(self, number: int) -> Iterator[StepTime]:
        """Times the body as step ``number`` (the first is 1), and traces it if it is one to be traced."""
        self._profiler.before(number)
        begun, time_taken = time.perf_counter(), StepTime()
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield time_taken
        time_taken.seconds = time.perf_counter() - begun
        self.events.note("step", number, time_taken.seconds)
        if self._profiler.ends(number):
            with self.events.timing("profile", number):
                self._profiler.close()

    def write(self, record: dict, *, with_goodput: bool) -> None:
        """Passes a step's record to the metrics file and the loggers."""
        if self._file is None:
            return
        if with_goodput:
            record |= {"goodput": goodput(self.events.all).get("goodput", 0.0)}
        self._file.write(record)
        self._loggers.write(record)
        self._on_step(record)

    def refuse_endless_skipping(self, record: dict, data_state: dict[str, Any], last_checkpoint: int | None) -> None:
        """Stops a run whose gradients stay without finite numbers, leaving what is needed to look into it.

        Args:
          record: of the step, with ``step``, ``loss`` and ``skipped_in_a_row``. data_state: says which rows it had.

        Raises:
          RunError: ``train.max_skipped`` steps in a row were skipped.
        """
        if record["skipped_in_a_row"] < self._config.train.max_skipped:
            return
        name = f"failure-{record['step']}.json"
        if self.first:
            shown = storage.finite(record, instead=str)
            storage.write_json(storage.join(self.workdir, name), {"record": shown, "data": data_state})
        raise RunError(
            f"step {record['step']}: {record['skipped_in_a_row']:.0f} steps in a row without finite gradients (loss "
            f"{record['loss']}); {name} says which rows; the last checkpoint is {last_checkpoint or 'none'}: "
            "lower config.optim.learning_rate, or look at the data"
        )

    def flush(self) -> None:
        """Makes all lines visible. Call it before a checkpoint, so that a killed run loses no line."""
        if self._file is not None:
            self._file.flush()
            self.events.flush()

    def close(self) -> None:
        """Ends a running trace and writes what is left."""
        self._profiler.close()
        self._loggers.close()
        if self._file is not None:
            self._file.close()
            self.events.flush()
