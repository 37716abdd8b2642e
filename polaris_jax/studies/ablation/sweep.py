"""``run_ablation``: trains and measures every run of a sweep; finished runs are not repeated.

OUT/stores/VARIANT/            the store in each form that is needed
OUT/arms/NAME/run/             the training run (resumes by itself)
OUT/arms/NAME/free_runs.jsonl  its greedy continuations, as generations for ``polaris evaluate style``
OUT/arms/NAME/result.json      written last
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import jax
import numpy as np

from polaris_jax import storage
from polaris_jax.data import Tokenizer, TokenStore, load_tokenizer, plan_bins
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.sampling import Sampler
from polaris_jax.sharding import make_mesh
from polaris_jax.studies.ablation.free_run import free_runs
from polaris_jax.studies.ablation.heldout import held_out_loss
from polaris_jax.studies.ablation.sweep_runs import SweepRun
from polaris_jax.studies.ablation.variants import write_variant
from polaris_jax.training import load_weights, read_metrics, train, train_config
from polaris_jax.training.config import AnyTrainConfig, TrainConfig, flatten, override, replace

RESULT = "result.json"
PLAIN = "no_scaffold"  # the variant in which prose is compared between all runs


@dataclass(frozen=True)
class AblationSpec:
    """Settings that all runs share.

    Attributes:
      tokens: training tokens of each run with ``epochs=0``; 0 is one epoch of ``trajectory``.
      held_out: split to measure on (``validation`` or ``test``).
      most_held_out: most trajectories of it, evenly spaced (0: all).
      free_runs, free_tokens: continuations per run, and tokens of each.
    """

    tokens: int = 0
    held_out: str = "validation"
    most_held_out: int = 0
    free_runs: int = 8
    free_tokens: int = 320


def run_ablation(
    config: AnyTrainConfig,
    runs: Sequence[SweepRun],
    out: str | os.PathLike,
    spec: AblationSpec = AblationSpec(),
    *,
    on_run: Callable[[SweepRun, dict], None] = lambda run, result: None,
    on_step: Callable[[SweepRun, dict], None] = lambda run, record: None,
) -> list[dict]:
    """Trains and measures every run; the same call continues where a killed one stopped.

    Args:
      config: the training config that all runs start from: model, store (in trajectory form), and so on. Its
        ``train.steps`` is set per run.
      out: local folder.
      on_run: called with every run and its result, when it is finished or was found finished.
      on_step: called after every optimizer step.

    Returns:
      One JSON-ready result per run, in order.

    Raises:
      InputError: an impossible config, or a store without held-out authors.
      KeyboardInterrupt: a signal ended a training run, which has left its checkpoint.
    """
    config = train_config(config)
    tokenizer = load_tokenizer(config.model.path)
    base = TokenStore.open(config.data.store, tokenizer)
    if not len(base.where(split=spec.held_out)):
        raise InputError("--store", config.data.store, f"has no {spec.held_out} authors; build it with --split")
    results = []
    for run in runs:
        place = os.path.join(os.fspath(out), "arms", run.name)
        identity = _identity(config, run, spec, base)
        result = storage.read_json(os.path.join(place, RESULT))
        if result is None or result["identity"] != identity:
            stores = {
                name: write_variant(base, name, tokenizer, os.path.join(os.fspath(out), "stores", name))
                for name in dict.fromkeys(("trajectory", run.variant, PLAIN))
            }
            measured = {
                "identity": identity,
                **_train_and_measure(config, run, spec, stores, tokenizer, place, on_step),
            }
            storage.write_json(os.path.join(place, RESULT), measured)
            # Read back as a later call would read it, so that both return the same result.
            result = storage.read_json(os.path.join(place, RESULT)) or measured
        on_run(run, result)
        results.append(result)
    return results


def _train_and_measure(
    config: TrainConfig,
    run: SweepRun,
    spec: AblationSpec,
    stores: Mapping[str, TokenStore],
    tokenizer: Tokenizer,
    place: str,
    on_step: Callable[[SweepRun, dict], None],
) -> dict:
    """The result of one run; ``place`` is its folder."""
    mine = replace(override(config, run.overrides), {"data.store": stores[run.variant].path})
    budget = spec.tokens or _epoch(stores["trajectory"], mine)[1]
    rows, tokens = _epoch(stores[run.variant], mine)
    per_step = tokens / rows * mine.data.batch_size
    steps = max(1, round(run.epochs * rows / mine.data.batch_size if run.epochs else budget / per_step))
    # If the warm-up were longer than the run, the learning rate would never be reached.
    warmup = min(mine.optim.warmup, steps // 4) if run.train else mine.optim.warmup
    mine = replace(mine, {"train.steps": steps, "optim.warmup": warmup})
    records: list[dict] = []
    checkpoint = mine.model.path
    if run.train:
        checkpoint = os.path.join(place, "run")
        done = train(mine, checkpoint, on_step=lambda record: on_step(run, record))
        if not done.finished:
            raise KeyboardInterrupt
        records = read_metrics(checkpoint)
    mesh = make_mesh(mine.mesh.sizes())
    model, params, _ = load_weights(checkpoint, mesh=mesh)
    measured = {}
    for name, store in (("own", stores[run.variant]), ("plain", stores[PLAIN])):
        held = _spread(store.where(split=spec.held_out), spec.most_held_out)
        measured[name] = asdict(held_out_loss(mine, params, model, mesh, store, held))
    store = stores[run.variant]
    # A mesh for long rows does not speed up the decoding of a few texts.
    params = jax.device_put(params, jax.devices()[0])
    sampler = Sampler(params, model, tokenizer, max_length=mine.data.window + spec.free_tokens, prefill_chunk=64)
    held = _spread(store.where(split=spec.held_out), spec.free_runs)
    continuations = free_runs(sampler, store, held, spec.free_tokens)
    jsonl.write(
        os.path.join(place, "free_runs.jsonl"),
        ({"id": str(one.document), "story": one.text, "model": run.name, "finish": "length"} for one in continuations),
    )
    steps = len(records)
    return {
        "arm": run.to_json(),
        "steps": steps,
        "tokens": sum(r["tokens"] for r in records),
        "epochs": steps * mine.data.batch_size / rows,
        "train_loss": _last_quarter(records, "loss"),
        "train_prose_loss": _last_quarter(records, "loss/prose"),
        "held_out": measured,
        "free_runs": [one.to_json() for one in continuations],
    }


def _epoch(store: TokenStore, config: TrainConfig) -> tuple[int, int]:
    """Rows and tokens of one pass over the training data."""
    chosen = store.where(split=config.data.split) if config.data.split else np.arange(len(store))
    if 0 < config.data.max_trajectories < len(chosen):
        chosen = _spread(chosen, config.data.max_trajectories)
    plan = plan_bins(store.lengths, config.data.window, documents=chosen, overlong=config.data.overlong)
    return len(plan), int(plan.lengths.sum())


def _spread(items: np.ndarray, most: int) -> np.ndarray:
    if not 0 < most < len(items):
        return items
    return items[np.linspace(0, len(items) - 1, most).round().astype(int)]


def _last_quarter(records: list[dict], name: str) -> float | None:
    values = [record[name] for record in records[-max(1, len(records) // 4) :] if name in record]
    return sum(values) / len(values) if values and math.isfinite(sum(values)) else None


def _identity(config: TrainConfig, run: SweepRun, spec: AblationSpec, store: TokenStore) -> str:
    """Hash of everything that affects a run's result."""
    content = [flatten(config), run.to_json(), asdict(spec), store.content_hash]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
