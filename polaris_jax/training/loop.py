"""The loop: open or resume a run, feed the step, write metrics and checkpoints, stop cleanly when asked."""

import hashlib
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from polaris_jax.data import Batches, TokenStore, iterate_placed, load_tokenizer, plan_bins
from polaris_jax.errors import InputError
from polaris_jax.models import from_pretrained
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import abstract_params, param_shardings
from polaris_jax.optim import GroupRule, group_table, label_params, make_optimizer, make_schedule, stored_dtype
from polaris_jax.optim.groups import DEFAULT_RULES
from polaris_jax.sharding import make_mesh
from polaris_jax.training.checkpoint import MODEL, Checkpoints
from polaris_jax.training.config import EXECUTION_FIELDS, check_config, flatten
from polaris_jax.training.metrics import MetricsFile, step_record
from polaris_jax.training.state import abstract_state, initial_state
from polaris_jax.training.step import make_train_step

RUN_FILE = "run.json"


@dataclass(frozen=True)
class TrainResult:
    """``steps`` done in all; ``finished`` is False when a signal stopped the run (it resumes when called again)."""

    steps: int
    finished: bool
    groups: list[tuple[str, int, int]]


def train(config: ConfigDict, workdir: str | os.PathLike, *, on_step: Callable[[dict], None] = lambda record: None,
          on_start: Callable[[dict], None] = lambda facts: None) -> TrainResult:
    """Runs ``config`` in ``workdir``, or resumes it from its newest checkpoint.

    Args:
      on_start: called once with facts: ``resumed_at``, ``rows`` and ``fill`` of the packed data, ``trajectories`` (the
        store's indices trained on), ``mesh``, ``groups``, ``parameters``.
      on_step: called with every metrics record as it is written.

    Raises:
      InputError: a bad config, unreadable data or model, or a folder that holds another run.
    """
    check_config(config)
    workdir = Path(workdir)
    mesh = make_mesh(config.mesh)
    model = ModelConfig.from_hf(_read_model_config(config.model.path))
    if model.recurrent and mesh.shape["context"] > 1:
        raise InputError("config.mesh.context", mesh.shape["context"], "the delta rule reads a row in storage order, "
                         "which zigzag sharding changes; use context=1 for models with recurrent layers")
    batches = _open_data(config, mesh)
    _claim(workdir, config, batches)

    dtype = stored_dtype(config.optim.precision)
    schedule = make_schedule(config.optim.schedule, config.optim.learning_rate, config.train.steps,
                             config.optim.warmup)
    optimizer, labels = optimizer_of(config, model, mesh, schedule, dtype)
    abstract = abstract_state(model, optimizer, mesh, dtype)
    checkpoints = Checkpoints(workdir, keep=config.train.keep_checkpoints, asynchronous=config.train.async_checkpoints)
    start = checkpoints.latest or 0
    if start:
        state, data_state = checkpoints.restore(start, abstract)
        batches.check_state(data_state)
    else:
        params = from_pretrained(config.model.path, dtype=dtype, mesh=mesh).params
        state = initial_state(params, optimizer, abstract)
    groups = group_table(abstract.params, labels)
    on_start({"resumed_at": start, "rows": len(batches.plan), "fill": batches.plan.fill, "mesh": dict(mesh.shape),
              "trajectories": sorted(batches.plan.documents.tolist()), "groups": groups,
              "parameters": sum(count for _, _, count in groups)})

    step_fn = make_train_step(config, model, mesh, optimizer, schedule)
    file = MetricsFile(workdir, start)
    done, clock = start, time.perf_counter()
    with _stop_on_signal() as stop:
        for step, batch in iterate_placed(batches, mesh, start, config.train.steps, threads=config.data.threads):
            state, metrics = step_fn(state, batch)
            done = step + 1
            metrics = jax.device_get(metrics)  # waits for the step; the next batches are being made meanwhile
            seconds, clock = time.perf_counter() - clock, time.perf_counter()
            record = step_record(done, metrics, seconds, mesh.size)
            if not math.isfinite(record["loss"]):
                raise FloatingPointError(f"step {done}: loss is {record['loss']}; the last checkpoint is "
                                         f"{checkpoints.latest or 'none'}")
            file.write(record)
            on_step(record)
            if done % config.train.checkpoint_every == 0 or done == config.train.steps or stop.is_set:
                checkpoints.save(done, state, batches.state(done))
                clock = time.perf_counter()
            if stop.is_set:
                break
    file.close()
    checkpoints.wait()
    checkpoints.close()
    return TrainResult(done, done == config.train.steps, groups)


def _read_model_config(path: str) -> dict:
    file = Path(path) / "config.json"
    if not file.exists():
        raise InputError("config.model.path", path, "holds no config.json; give a Hugging Face model folder")
    return json.loads(file.read_text(encoding="utf-8"))


def _open_data(config: ConfigDict, mesh) -> Batches:
    store = TokenStore.open(config.data.store, load_tokenizer(config.model.path))
    chosen, most = _chosen(store, config.data.split), config.data.max_trajectories
    if 0 < most < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
    plan = plan_bins(store.lengths, config.data.window, documents=chosen, overlong=config.data.overlong)
    return Batches(store, plan, batch_size=config.data.batch_size, seed=config.seed, shards=mesh.shape["context"])


def _chosen(store: TokenStore, split: str) -> np.ndarray:
    """The trajectories to train on; a store that knows no splits is used whole.

    Raises:
      InputError: no trajectory belongs to ``split``.
    """
    known = sorted({store.meta(i)["split"] for i in range(len(store)) if "split" in store.meta(i)})
    if not split or not known:
        return np.arange(len(store))
    chosen = store.where(split=split)
    if not len(chosen):
        raise InputError("config.data.split", split, f"no trajectory of {store.path} belongs to it; it has "
                         f"{', '.join(known)}")
    return chosen


def optimizer_of(config: ConfigDict, model: ModelConfig, mesh, schedule, dtype):
    """``(optimizer, labels)`` of a run: the config's groups before the built-in ones, dealt over the mesh."""
    optim = config.optim
    rules = (*(GroupRule(*pair) for pair in optim.groups), *DEFAULT_RULES)
    labels = label_params(abstract_params(model, dtype), rules)
    optimizer = make_optimizer(
        labels, schedule, adamw_scale=optim.adamw_scale, momentum=optim.momentum,
        newton_schulz_steps=optim.newton_schulz_steps, newton_schulz_dtype=jnp.dtype(optim.newton_schulz_dtype),
        b1=optim.b1, b2=optim.b2, weight_decay=optim.weight_decay, clip_norm=optim.clip_norm or None,
        state_dtype=jnp.dtype(optim.state_dtype),
        shardings=param_shardings(model, mesh) if mesh.size > 1 else None)
    return optimizer, labels


def _claim(workdir: Path, config: ConfigDict, batches: Batches) -> None:
    """Writes ``run.json`` and ``model/``, or checks that the folder already belongs to this very run."""
    rows = {name: value for name, value in flatten(config).items()
            if not name.startswith(EXECUTION_FIELDS) and name not in ("model.path", "data.store")}
    identity = {"config": rows, "data": batches.state(0)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    file = workdir / RUN_FILE
    if file.exists():
        held = json.loads(file.read_text(encoding="utf-8"))
        if held["identity"] != digest:
            before = held["config"]
            changed = [name for name in rows if json.loads(json.dumps(rows[name])) != before.get(name)]
            what = f"its {changed[0]} is {before.get(changed[0])!r}" if changed else "its data differ"
            raise InputError("--workdir", str(workdir), f"holds another run ({what}); choose an empty folder")
        return
    if workdir.exists() and any((workdir / name).exists() for name in ("checkpoints", "metrics.jsonl")):
        raise InputError("--workdir", str(workdir), "holds files of another run; choose an empty folder")
    workdir.mkdir(parents=True, exist_ok=True)
    source, target = Path(config.model.path), workdir / MODEL
    partial_copy = workdir / (MODEL + ".tmp")
    shutil.rmtree(partial_copy, ignore_errors=True)
    partial_copy.mkdir()
    for item in source.iterdir():
        if item.is_file() and ".safetensors" not in item.name:
            shutil.copy2(item, partial_copy / item.name)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial_copy, target)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps({
        "identity": digest, "stored_dtype": jnp.dtype(stored_dtype(config.optim.precision)).name,
        "model_path": str(config.model.path), "store": str(config.data.store), **identity}, indent=1), encoding="utf-8")
    os.replace(temporary, file)


class _Stop:
    is_set = False


@contextmanager
def _stop_on_signal():
    """SIGINT and SIGTERM end the run after the present step, with a checkpoint; a second SIGINT ends it at once."""
    stop = _Stop()

    def request(number, frame):
        if stop.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.is_set = True

    try:
        previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread (a notebook, a test): signals stay as they are
        previous = {}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
