"""The loop of supervised fine-tuning: open or resume a run, feed the step, evaluate, checkpoint, stop when asked."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax

from polaris_jax.data import iterate_placed
from polaris_jax.models import describe
from polaris_jax.sharding import group_by_slice
from polaris_jax.sharding.chips import chip_of
from polaris_jax.training import cluster
from polaris_jax.training.checkpoint import Checkpoints
from polaris_jax.training.config import AnyTrainConfig, TrainConfig, train_config
from polaris_jax.training.evaluation import Evaluation
from polaris_jax.training.input_pipeline import described, open_held_out_data, open_training_data
from polaris_jax.training.metrics import step_record
from polaris_jax.training.monitor import RunMonitor
from polaris_jax.training.pace import Pace
from polaris_jax.training.run_folder import init_workdir
from polaris_jax.training.setup import Setup, set_up, starting_state
from polaris_jax.training.slices import fit_to_slices
from polaris_jax.training.state import TrainState
from polaris_jax.training.step import SEEN, make_evaluation, make_train_step
from polaris_jax.training.stopping import Stop, stop_on_signal


@dataclass(frozen=True)
class TrainResult:
    """``steps`` done in all; ``finished`` is False when a signal (its number in ``stopped_by``) ended the run early."""

    steps: int
    finished: bool
    groups: list[tuple[str, int, int]]
    stopped_by: int = 0


def train(
    config: AnyTrainConfig,
    workdir: str | os.PathLike,
    *,
    on_step: Callable[[dict], None] = lambda record: None,
    on_start: Callable[[dict], None] = lambda facts: None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> TrainResult:
    """Runs ``config`` in ``workdir`` (local or gs://), or resumes it from its newest whole checkpoint.

    In a run of several processes every one calls this; the first one writes and calls back.

    Args:
      on_start: called once with facts: ``resumed_at``, ``rows`` and ``fill`` of the packed data, ``trajectories`` (the
        store's indices trained on), ``mesh``, ``groups``, ``parameters``.
      on_step: called with every metrics record as it is written.
      say: takes lines about what is out of the ordinary.

    Raises:
      InputError: a bad config, unreadable data or model, or a folder that holds another run.
      RunError: the run cannot go on (gradients that stay without finite numbers, a full disk).
    """
    begun = time.perf_counter()
    config = train_config(config)
    workdir = os.fspath(workdir)
    devices = jax.devices()
    config, missing = fit_to_slices(config, len(group_by_slice(devices)), len(devices))
    if missing and cluster.is_first():
        say(missing)
    setup = set_up(config)
    data = open_training_data(config, setup.mesh)
    held_out = open_held_out_data(config, setup.mesh) if config.eval.every else None
    init_workdir(workdir, config, data.state(0), setup.checkpoint_bytes)

    first = cluster.is_first()
    checkpoints = Checkpoints(workdir, keep=config.train.keep_checkpoints, asynchronous=config.train.async_checkpoints)
    found = checkpoints.restore_newest(setup.abstract, cluster.said_once(say))
    state, data_state = starting_state(config, setup, found)
    start = 0 if data_state is None else data.check_state(data_state)
    if first:
        facts = {"resumed_at": start, "mesh": dict(setup.mesh.shape), "groups": setup.groups, **described(data)}
        on_start(facts | {"parameters": sum(count for _, _, count in setup.groups)})

    evaluation = (
        None
        if held_out is None
        else Evaluation(
            make_evaluation(config, setup.model, setup.mesh),
            held_out,
            setup.mesh,
            rows=config.eval.rows,
            threads=config.data.threads,
        )
    )
    monitor = RunMonitor(workdir, config, start, on_step)
    run = _Run(config, setup, data, checkpoints, evaluation, monitor)
    with stop_on_signal(config.train.grace_seconds) as stop:
        done = run.go(state, start, stop, begun)
    return TrainResult(done, done == config.train.steps, setup.groups, stop.number)


class _Run:
    """The steps between a restored state and the end."""

    def __init__(
        self, config: TrainConfig, setup: Setup, data, checkpoints: Checkpoints, evaluation, monitor: RunMonitor
    ):
        self.config, self.setup, self.data = config, setup, data
        self.checkpoints, self.evaluation, self.monitor = checkpoints, evaluation, monitor
        self.step_fn = make_train_step(config, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
        self.compiled: dict[tuple[int, int], Callable] = {}
        chip = chip_of(setup.mesh.devices.flat[0].device_kind)
        self.peak = chip.flops if chip else 0.0

    def go(self, state: TrainState, start: int, stop: Stop, begun: float) -> int:
        """Trains to the last step or until asked to stop; returns the number of steps done.

        Args:
          begun: when the process began with this run, by ``time.perf_counter``.
        """
        config, monitor, events = self.config, self.monitor, self.monitor.events
        done = start
        events.note("start", start, time.perf_counter() - begun, hosts=cluster.host_names())
        mesh = self.setup.mesh
        shares = mesh.shape["data"] * mesh.shape["fsdp"] * config.train.microbatches
        feed = iterate_placed(self.data, mesh, start, config.train.steps, threads=config.data.threads, multiple=shares)
        pace = Pace()
        while done < config.train.steps:
            pace.begin()  # all have just met in `requested`
            clock = time.perf_counter()
            step, batch = next(feed)
            events.note("data", step, time.perf_counter() - clock)
            shape = self.data.shape(step)
            if shape not in self.compiled:
                with events.timing("compile", step + 1):
                    self.compiled[shape] = self.step_fn.lower(state, batch).compile()
                    cluster.barrier(f"compiled for {shape}")  # the first collectives do not wait long for the others
                if stop.requested():  # compiling took minutes
                    if done > start:
                        self._save(done, state)
                    break
                pace.begin()
            pace.dispatch()
            with monitor.step(step + 1) as taken:
                state, metrics = self.compiled[shape](state, batch)
                metrics = jax.device_get(metrics)  # waits for the step; the next batches are being made meanwhile
            done = step + 1
            record = self._record(done, metrics, taken.seconds) | pace.done()
            monitor.refuse_endless_skipping(record, self.data.state(step), self.checkpoints.latest)
            finished, asked = done == config.train.steps, bool(stop.requested())
            due = finished or asked or done % config.train.checkpoint_every == 0
            if self.evaluation and not asked and (finished or done % config.eval.every == 0):
                with events.timing("evaluation", done):
                    record |= self.evaluation(state.params, state.frozen)
            monitor.write(record, with_goodput=due)
            asked = bool(stop.requested())  # the signal may have arrived during evaluation
            if due or asked:
                self._save(done, state, held_out_loss=record.get("eval/loss"))
            if asked:
                break
        with events.timing("checkpoint", done):
            self.checkpoints.wait()
        self.checkpoints.close()
        monitor.close()
        cluster.barrier("the end")
        return done

    def _save(self, done: int, state: TrainState, held_out_loss: float | None = None) -> None:
        """A checkpoint, and the lines before it: a run that is killed in between repeats steps, and loses no line."""
        self.monitor.flush()
        with self.monitor.events.timing("checkpoint", done):
            self.checkpoints.save(done, state, self.data.state(done), held_out_loss=held_out_loss)

    def _record(self, done: int, metrics: dict, seconds: float) -> dict:
        forward = describe(self.setup.model).flops(float(metrics["tokens"]), metrics.pop(SEEN))
        flops = forward.trained(adapter=bool(self.config.adapter.rank))
        return step_record(done, metrics, seconds, self.setup.mesh.size, flops=flops, peak=self.peak)
