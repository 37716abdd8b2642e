"""The loop: open or resume a run, feed the step, evaluate, write metrics and checkpoints, stop cleanly when asked."""

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from polaris_jax import storage
from polaris_jax.data import iterate_placed
from polaris_jax.errors import InputError, RunError
from polaris_jax.models import describe, from_pretrained
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import abstract_params, param_shardings
from polaris_jax.optim import (
    GroupRule,
    attention_splits,
    group_table,
    label_params,
    make_optimizer,
    make_schedule,
    stored_dtype,
)
from polaris_jax.optim.groups import DEFAULT_RULES
from polaris_jax.sharding import make_mesh
from polaris_jax.sharding.chips import chip_of
from polaris_jax.training import cluster
from polaris_jax.training.checkpoint import Checkpoints
from polaris_jax.training.config import check_config, flatten
from polaris_jax.training.evaluation import Evaluation
from polaris_jax.training.events import Events, goodput
from polaris_jax.training.feeding import described, open_held_out_data, open_training_data
from polaris_jax.training.metrics import Loggers, MetricsFile, step_record
from polaris_jax.training.profiling import Profiler
from polaris_jax.training.run_folder import claim
from polaris_jax.training.state import TrainState, abstract_state, initial_state
from polaris_jax.training.step import make_evaluation, make_train_step
from polaris_jax.training.stopping import stop_on_signal


@dataclass(frozen=True)
class TrainResult:
    """``steps`` done in all; ``finished`` is False when a signal (its number in ``stopped_by``) ended the run early."""

    steps: int
    finished: bool
    groups: list[tuple[str, int, int]]
    stopped_by: int = 0


def train(config: ConfigDict, workdir: str | os.PathLike, *, on_step: Callable[[dict], None] = lambda record: None,
          on_start: Callable[[dict], None] = lambda facts: None,
          say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> TrainResult:
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
    check_config(config)
    workdir = os.fspath(workdir)
    mesh = make_mesh(config.mesh)
    model = read_model(config.model.path)
    if model.recurrent and mesh.shape["context"] > 1:
        raise InputError("config.mesh.context", mesh.shape["context"], "the delta rule reads a row in storage order, "
                         "which zigzag sharding changes; use context=1 for models with recurrent layers")
    data = open_training_data(config, mesh)
    held_out = open_held_out_data(config, mesh) if config.eval.every else None

    dtype = stored_dtype(config.optim.precision)
    schedule = make_schedule(config.optim.schedule, config.optim.learning_rate, config.train.steps,
                             config.optim.warmup)
    optimizer, labels = optimizer_of(config, model, mesh, schedule, dtype)
    abstract = abstract_state(model, optimizer, mesh, dtype)
    claim(workdir, config, data.state(0), sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract)))

    first = cluster.is_first()
    checkpoints = Checkpoints(workdir, keep=config.train.keep_checkpoints, asynchronous=config.train.async_checkpoints)
    found = checkpoints.restore_newest(abstract, say if first else lambda line: None)
    if found:
        state, data_state = found
        start = data.check_state(data_state)
    else:
        start, params = 0, from_pretrained(config.model.path, dtype=dtype, mesh=mesh).params
        state = initial_state(params, optimizer, abstract)
    groups = group_table(abstract.params, labels)
    if first:
        on_start({"resumed_at": start, "mesh": dict(mesh.shape), "groups": groups, **described(data),
                  "parameters": sum(count for _, _, count in groups)})

    step_fn = make_train_step(config, model, mesh, optimizer, schedule, labels)
    evaluation = held_out and Evaluation(make_evaluation(config, model, mesh), held_out, mesh, rows=config.eval.rows,
                                         threads=config.data.threads)
    run = _Run(config, workdir, mesh, model, data, checkpoints, evaluation, on_step)
    with stop_on_signal(config.train.grace_seconds) as stop:
        done = run.go(state, step_fn, start, stop, begun)
    return TrainResult(done, done == config.train.steps, groups, stop.number)


class _Run:
    """The steps between a restored state and the end."""

    def __init__(self, config, workdir, mesh, model, data, checkpoints, evaluation, on_step):
        self.config, self.workdir, self.mesh, self.model, self.data = config, workdir, mesh, model, data
        self.checkpoints, self.evaluation, self.on_step = checkpoints, evaluation, on_step
        self.events = Events(workdir, active=cluster.is_first())
        chip = chip_of(mesh.devices.flat[0].device_kind)
        self.peak = chip.flops if chip else 0.0

    def go(self, state: TrainState, step_fn: Callable, start: int, stop, begun: float) -> int:
        """Trains to the last step or until asked to stop; returns the number of steps done.

        Args:
          begun: when the process began with this run, by ``time.perf_counter``.
        """
        config, first = self.config, cluster.is_first()
        file = MetricsFile(self.workdir, start) if first else None
        loggers = Loggers(self.workdir, tensorboard=config.train.tensorboard and first,
                          wandb=config.train.wandb if first else "", config=flatten(config))
        profiler = Profiler(self.workdir, config.train.profile_first, config.train.profile_steps)
        done, compiled = start, {}
        self.events.note("start", start, time.perf_counter() - begun)
        feed = iterate_placed(self.data, self.mesh, start, config.train.steps, threads=config.data.threads)
        while done < config.train.steps:
            clock = time.perf_counter()
            step, batch = next(feed)
            self.events.note("data", step, time.perf_counter() - clock)
            shape = self.data.shape(step)
            if shape not in compiled:
                with self.events.timing("compile", step + 1):
                    compiled[shape] = step_fn.lower(state, batch).compile()
                    cluster.barrier(f"compiled for {shape}")  # the first collectives do not wait long for the others
                if stop.agreed():  # in the minutes that took; a step more might be a minute too much
                    if done > start:
                        self._save(done, state, file)
                    break
            profiler.before(step + 1)
            clock = time.perf_counter()
            with jax.profiler.StepTraceAnnotation("train", step_num=step + 1):
                state, metrics = compiled[shape](state, batch)
                metrics = jax.device_get(metrics)  # waits for the step; the next batches are being made meanwhile
            seconds, done = time.perf_counter() - clock, step + 1
            self.events.note("step", done, seconds)
            if profiler.ends(done):
                with self.events.timing("profile", done):
                    profiler.close()
            record = self._record(done, metrics, seconds, shape)
            self._refuse_endless_skipping(record, step)
            finished, asked = done == config.train.steps, bool(stop.agreed())
            due = finished or asked or done % config.train.checkpoint_every == 0
            if self.evaluation and not asked and (finished or done % config.eval.every == 0):
                with self.events.timing("evaluation", done):
                    record |= self.evaluation(state.params)
            if first:
                if due:
                    record |= {"goodput": goodput(self.events.all).get("goodput", 0.0)}
                file.write(record)
                loggers.write(record)
                self.on_step(record)
            asked = bool(stop.agreed())  # perhaps only now
            if due or asked:
                self._save(done, state, file, held_out_loss=record.get("eval/loss"))
            if asked:
                break
        profiler.close()
        with self.events.timing("checkpoint", done):
            self.checkpoints.wait()
        self.checkpoints.close()
        loggers.close()
        if first:
            file.close()
            self.events.flush()
        cluster.barrier("the end")
        return done

    def _save(self, done: int, state: TrainState, file: MetricsFile | None, held_out_loss: float | None = None) -> None:
        """A checkpoint, and the lines before it: a run that is killed in between repeats steps, and loses no line."""
        if file:
            file.flush()
            self.events.flush()
        with self.events.timing("checkpoint", done):
            self.checkpoints.save(done, state, self.data.state(done), held_out_loss=held_out_loss)

    def _record(self, done: int, metrics: dict, seconds: float, shape: tuple[int, int]) -> dict:
        flops = 3 * describe(self.model).flops_per_token(shape[1]).total
        record = step_record(done, metrics, seconds, self.mesh.size, flops=flops, peak=self.peak)
        return record

    def _refuse_endless_skipping(self, record: dict, step: int) -> None:
        """Stops a run whose gradients stay without finite numbers, leaving what is needed to look into it."""
        if record["skipped_in_a_row"] < self.config.train.max_skipped:
            return
        name = f"failure-{step + 1}.json"
        if cluster.is_first():
            shown = {key: value if math.isfinite(value) else str(value) for key, value in record.items()}
            storage.write_json(storage.join(self.workdir, name), {"record": shown, "data": self.data.state(step)})
        raise RunError(
            f"step {step + 1}: {record['skipped_in_a_row']} steps in a row without finite gradients (loss "
            f"{record['loss']}); {name} says which rows; the last checkpoint is {self.checkpoints.latest or 'none'}: "
            "lower config.optim.learning_rate, or look at the data")


def read_model(path: str, *, shape_only: bool = False) -> ModelConfig:
    """The shape of the model in the folder ``path``, local or gs://.

    Args:
      shape_only: nothing else is needed of it, so a ``config.json`` alone will do.

    Raises:
      InputError: no such file, or a model that the code does not compute.
    """
    alone = path.endswith(".json")
    if alone and not shape_only:
        raise InputError("config.model.path", path, "is a shape without weights; give the folder of the model")
    content = path and storage.read_json(path if alone else storage.join(path, "config.json"))
    if not content:
        raise InputError("config.model.path", path, "holds no readable config.json; give the folder of a model")
    return ModelConfig.from_hf(content)


def optimizer_of(config: ConfigDict, model: ModelConfig, mesh, schedule, dtype):
    """``(optimizer, labels)`` of a run: the config's groups before the built-in ones, dealt over the mesh."""
    optim = config.optim
    rules = (*(GroupRule(*pair) for pair in optim.groups), *DEFAULT_RULES)
    labels = label_params(abstract_params(model, dtype), rules)
    splits = attention_splits(model.num_heads, model.num_kv_heads, gated=model.family.output_gate)
    optimizer = make_optimizer(
        labels, schedule, adamw_scale=optim.adamw_scale, momentum=optim.momentum,
        newton_schulz_steps=optim.newton_schulz_steps, newton_schulz_dtype=jnp.dtype(optim.newton_schulz_dtype),
        b1=optim.b1, b2=optim.b2, weight_decay=optim.weight_decay, clip_norm=optim.clip_norm or None,
        state_dtype=jnp.dtype(optim.state_dtype), splits=splits if optim.per_head else (),
        shardings=param_shardings(model, mesh) if mesh.size > 1 else None)
    return optimizer, labels
