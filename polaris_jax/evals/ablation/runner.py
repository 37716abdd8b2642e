"""The sweep: every arm is trained, measured, and leaves ``ARM/result.json``; done arms are not touched again.

    OUT/stores/VARIANT/      the store in each form that is needed
    OUT/arms/ARM/run/        the training run (resumes by itself)
    OUT/arms/ARM/free_runs.jsonl  its greedy continuations, as generations for ``polaris evaluate style``
    OUT/arms/ARM/result.json written last
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import jax
import numpy as np
from ml_collections import ConfigDict

from polaris_jax import storage
from polaris_jax.data import TokenStore, load_tokenizer, plan_bins
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.ablation.arms import Arm
from polaris_jax.evals.ablation.free_run import free_runs
from polaris_jax.evals.ablation.heldout import held_out_loss
from polaris_jax.evals.ablation.variants import write_variant
from polaris_jax.sampling import Sampler
from polaris_jax.sharding import make_mesh
from polaris_jax.training import apply_overrides, load_weights, read_metrics, train
from polaris_jax.training.config import flatten

RESULT = "result.json"
PLAIN = "no_scaffold"  # the form in which prose can be compared between all arms


@dataclass(frozen=True)
class AblationSpec:
    """What all arms share.

    Attributes:
      tokens: budget of training tokens of the arms without a number of epochs; 0 is one epoch of ``trajectory``.
      held_out: split that is measured on (``validation`` or ``test``).
      most_held_out: trajectories measured on, evenly spread (0 = all).
      free_runs, free_tokens: continuations per arm, and tokens of each.
    """

    tokens: int = 0
    held_out: str = "validation"
    most_held_out: int = 0
    free_runs: int = 8
    free_tokens: int = 320


def run_ablation(
    config: ConfigDict, arms: Sequence[Arm], out: str | os.PathLike, spec: AblationSpec = AblationSpec(), *,
    on_arm: Callable[[Arm, dict], None] = lambda arm, result: None,
    on_step: Callable[[Arm, dict], None] = lambda arm, record: None,
) -> list[dict]:  # fmt: skip
    """Trains and measures every arm; the same call goes on where a killed one stopped.

    Args:
      config: the training run that all arms start from: its model, its store (in trajectory form), its dials. Its
        ``train.steps`` is set per arm.
      out: local folder.
      on_arm: told about every arm as it is done, or found done.
      on_step: told about every optimizer step.

    Returns:
      One JSON-ready result per arm, in order.

    Raises:
      InputError: an impossible config, or a store that holds nobody out.
      KeyboardInterrupt: a signal ended a training run, which has left its checkpoint.
    """
    tokenizer = load_tokenizer(config.model.path)
    base = TokenStore.open(config.data.store, tokenizer)
    if not len(base.where(split=spec.held_out)):
        raise InputError("--store", config.data.store, f"has no {spec.held_out} authors; build it with --split")
    results = []
    for arm in arms:
        place = os.path.join(os.fspath(out), "arms", arm.name)
        identity = _identity(config, arm, spec, base)
        found = storage.read_json(os.path.join(place, RESULT))
        if found is None or found["identity"] != identity:
            stores = {name: write_variant(base, name, tokenizer, os.path.join(os.fspath(out), "stores", name))
                      for name in dict.fromkeys(("trajectory", arm.variant, PLAIN))}  # fmt: skip
            storage.write_json(os.path.join(place, RESULT), {
                "identity": identity, **_run(config, arm, spec, stores, tokenizer, place, on_step)})
            found = storage.read_json(os.path.join(place, RESULT))
        on_arm(arm, found)
        results.append(found)
    return results


def _run(config, arm, spec, stores, tokenizer, place, on_step) -> dict:
    mine = apply_overrides(config.copy_and_resolve_references(), arm.overrides)
    mine.data.store = stores[arm.variant].path
    budget = spec.tokens or _epoch(stores["trajectory"], mine)[1]
    rows, tokens = _epoch(stores[arm.variant], mine)
    per_step = tokens / rows * mine.data.batch_size
    mine.train.steps = max(1, round(arm.epochs * rows / mine.data.batch_size if arm.epochs else budget / per_step))
    records: list[dict] = []
    checkpoint = mine.model.path
    if arm.train:
        checkpoint = os.path.join(place, "run")
        # A schedule that warms up longer than it runs would never reach its rate.
        mine.optim.warmup = min(mine.optim.warmup, mine.train.steps // 4)
        done = train(mine, checkpoint, on_step=lambda record: on_step(arm, record))
        if not done.finished:
            raise KeyboardInterrupt
        records = read_metrics(checkpoint)
    mesh = make_mesh(mine.mesh)
    model, params, _ = load_weights(checkpoint, mesh=mesh)
    measured = {}
    for name, store in (("own", stores[arm.variant]), ("plain", stores[PLAIN])):
        held = _spread(store.where(split=spec.held_out), spec.most_held_out)
        measured[name] = asdict(held_out_loss(mine, params, model, mesh, store, held))
    store = stores[arm.variant]
    # Decoding a few texts gains nothing from a mesh made for long rows.
    params = jax.device_put(params, jax.devices()[0])
    sampler = Sampler(params, model, tokenizer, max_length=mine.data.window + spec.free_tokens, prefill_chunk=64)
    runs = free_runs(sampler, store, _spread(store.where(split=spec.held_out), spec.free_runs), spec.free_tokens)
    jsonl.write(os.path.join(place, "free_runs.jsonl"),
                ({"id": str(one.document), "story": one.text, "model": arm.name, "finish": "length"} for one in runs))
    steps = len(records)
    return {
        "arm": arm.to_json(), "steps": steps, "tokens": sum(r["tokens"] for r in records),
        "epochs": steps * mine.data.batch_size / rows, "train_loss": _last_quarter(records, "loss"),
        "train_prose_loss": _last_quarter(records, "loss/prose"), "held_out": measured,
        "free_runs": [one.to_json() for one in runs],
    }  # fmt: skip


def _epoch(store: TokenStore, config: ConfigDict) -> tuple[int, int]:
    """Rows and tokens of one pass over what is trained on."""
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


def _identity(config: ConfigDict, arm: Arm, spec: AblationSpec, store: TokenStore) -> str:
    decisive = [flatten(config), arm.to_json(), asdict(spec), store.content_hash]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()
