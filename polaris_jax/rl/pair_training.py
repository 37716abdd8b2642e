"""Post-training on preference pairs (ORPO, DPO), without rollouts and without a judge.

DPO's reference is the model that the run starts from. Its log-probabilities are computed once, before the first step,
and kept in the run's folder (``reference.json``), so a step holds one copy of the weights and a resumed run reads them.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax import storage
from polaris_jax.data import load_tokenizer
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.dpo import dpo_cotangents
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.objective import linear
from polaris_jax.rl.pair_rows import PreferencePair, fingerprint, read_pairs
from polaris_jax.rl.preference import orpo_cotangents
from polaris_jax.rl.result import RlResult
from polaris_jax.rl.tasks import shuffled
from polaris_jax.training import Checkpoints, TrainState, cluster
from polaris_jax.training.monitor import RunMonitor
from polaris_jax.training.run_folder import init_workdir
from polaris_jax.training.setup import frozen_params, pretrained_params, set_up, starting_state
from polaris_jax.training.stopping import stop_on_signal

REFERENCE = "reference.json"
_REFERENCE_BATCH = 64  # pairs whose reference log-probabilities are computed at once
Weighed = tuple[dict[str, float], list[np.ndarray]]


class PairObjective:
    """The loss of a batch of pairs: ORPO or DPO, as the config says.

    Args:
      config: read are ``rl.objective``, ``orpo_beta``, ``dpo_beta``, ``dpo_label_smoothing`` and ``dpo_normalise``.
    """

    def __init__(self, config: RlConfig):
        self.rl = config.rl

    @property
    def mean(self) -> bool:
        """Whether an answer's score is the mean of its log-probabilities (always in ORPO) instead of their sum."""
        return self.rl.objective == "orpo" or self.rl.dpo_normalise

    def scores(self, logprobs: Sequence[np.ndarray], pairs: Sequence[PreferencePair]) -> np.ndarray:
        """One score per answer, float64 nats; chosen and rejected of each pair alternate.

        Args:
          logprobs: per answer, the log-probabilities of its response tokens.
        """
        sums = [float((row * mask).sum(dtype=np.float64)) for row, mask in zip(logprobs, _masks(pairs), strict=True)]
        return np.array(sums) / (_counts(pairs) if self.mean else 1.0)

    def __call__(
        self, logprobs: Sequence[np.ndarray], pairs: Sequence[PreferencePair], reference: np.ndarray | None
    ) -> Weighed:
        """``(metrics with "loss", per answer the negative derivative of the loss per response token)``.

        Args:
          reference: ``scores`` of these pairs under the reference; None for ORPO.
        """
        values = self.scores(logprobs, pairs)
        chosen, rejected = range(0, len(values), 2), range(1, len(values), 2)
        if reference is None:
            metrics, shares = orpo_cotangents(values, chosen, rejected, self.rl.orpo_beta)
            metrics |= {"margin": metrics["log_odds_ratio"], "accuracy": metrics["preferred"]}
        else:
            beta, smoothing = self.rl.dpo_beta, self.rl.dpo_label_smoothing
            metrics, shares = dpo_cotangents(values, reference, chosen, rejected, beta=beta, label_smoothing=smoothing)
        counts = _counts(pairs) if self.mean else np.ones(len(values))
        means = values if self.mean else values / _counts(pairs)
        metrics |= {"chosen_logprob": float(means[::2].mean()), "rejected_logprob": float(means[1::2].mean())}
        weights = [
            (share / count * mask).astype(np.float32)
            for share, count, mask in zip(shares, counts, _masks(pairs), strict=True)
        ]
        return metrics, weights


def _masks(pairs: Sequence[PreferencePair]) -> list[np.ndarray]:
    return [side.learned for pair in pairs for side in (pair.chosen, pair.rejected)]


def _counts(pairs: Sequence[PreferencePair]) -> np.ndarray:
    return np.array([mask.sum() for mask in _masks(pairs)], np.float64)


def train_on_pairs(
    config: RlConfig,
    workdir: str | os.PathLike,
    *,
    on_step: Callable[[dict], None] = lambda record: None,
    on_start: Callable[[dict], None] = lambda facts: None,
    devices: Sequence[jax.Device] | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> RlResult:
    """Runs or resumes a config whose ``data.kind`` is ``pairs``; arguments and errors as of ``post_train``."""
    begun, first = time.perf_counter(), cluster.is_first()
    folder = os.fspath(workdir)
    say = cluster.said_once(say)
    run = _PairRun(config, folder, devices, say)
    checkpoints = Checkpoints(folder, keep=config.train.keep_checkpoints, asynchronous=config.train.async_checkpoints)
    reference = run.reference()
    state, saved = starting_state(config, run.setup, checkpoints.restore_newest(run.setup.abstract, say))
    start = saved["step"] if saved else 0
    if first:
        on_start(run.facts | {"resumed_at": start, "mesh": dict(run.setup.mesh.shape)})
    monitor = RunMonitor(folder, config, start, on_step)
    done = start
    with stop_on_signal(config.train.grace_seconds) as stop:
        try:
            monitor.events.note("start", start, time.perf_counter() - begun)
            if start == 0 and config.validation.first:
                run.validate(0, state, reference, monitor)
            for step in range(start, config.train.steps):
                with monitor.step(step + 1) as taken:
                    state, record = run.step(state, step, reference)
                done = step + 1
                record = {"step": done, **record, "step_time_s": taken.seconds}
                monitor.refuse_endless_skipping(record, run.data_state(step), checkpoints.latest)
                finished = done == config.train.steps
                if finished or done % config.validation.every == 0:
                    held = run.validate(done, state, reference, monitor)
                    record |= {f"validation/{name}": value for name, value in held.items()}
                asked = bool(stop.requested())
                due = finished or asked or done % config.train.checkpoint_every == 0
                monitor.write(record, with_goodput=due)
                if due:
                    monitor.flush()
                    with monitor.events.timing("checkpoint", done):
                        checkpoints.save(done, state, run.data_state(done))
                if asked:
                    break
            cluster.barrier("the end")
        finally:
            with monitor.events.timing("checkpoint", done):
                checkpoints.wait()
            checkpoints.close()
            monitor.close()
    return RlResult(done, done == config.train.steps, stop.number)


class _PairRun:
    """Pairs, model and learner of a run; immutable."""

    def __init__(
        self, config: RlConfig, workdir: str, devices: Sequence[jax.Device] | None, say: Callable[[str], None]
    ):
        self.config, self.workdir = config, workdir
        self.setup = setup = set_up(config, devices=devices)
        self.learner = Learner(config, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
        self.objective = PairObjective(config)
        tokenizer = load_tokenizer(config.model.path, stages=False)

        def read(source: str, split: str, limit: int) -> tuple[list[PreferencePair], dict[str, int]]:
            return read_pairs(
                source,
                config.model.path,
                tokenizer,
                split=split,
                max_prompt=config.data.max_prompt_tokens,
                max_response=config.rollout.max_tokens,
                long_answers=config.data.long_answers,
                limit=limit,
            )

        self.pairs, left = read(config.data.train, "train", config.data.limit)
        self.held: list[PreferencePair] = []
        if config.data.validation:
            self.held, _ = read(config.data.validation, "validation", config.data.validation_limit)
        cut = config.data.long_answers == "cut"
        if left["long_prompts"] or left["long_answers"]:
            say(
                f"{left['long_prompts']} pairs with long prompts are left out, "
                f"{left['long_answers']} with long answers {'cut' if cut else 'left out'}"
            )
        self.facts: dict[str, Any] = {"pairs": len(self.pairs), "validation": len(self.held), **left}
        self._identity = fingerprint([*self.pairs, *self.held])
        init_workdir(workdir, config, self.data_state(0), setup.checkpoint_bytes)

    def data_state(self, step: int) -> dict[str, Any]:
        """What a checkpoint stores about the pairs, so that a run resumes only on the same pairs."""
        return {"step": step, "pairs": self._identity}

    def reference(self) -> np.ndarray | None:
        """``scores`` of all pairs, held-out ones last, under the model the run starts from; None for ORPO."""
        if self.config.rl.objective != "dpo":
            return None
        address = storage.join(self.workdir, REFERENCE)
        about = {"pairs": self._identity, "mean": self.objective.mean}
        held = cluster.from_first(storage.read_json(address) if cluster.is_first() else None)
        if held is not None and {name: held.get(name) for name in about} == about:
            return np.array(held["scores"], np.float64)
        frozen = frozen_params(self.config, self.setup)
        start = TrainState(jnp.zeros((), jnp.int32), pretrained_params(self.config, self.setup), None, frozen)
        every = [*self.pairs, *self.held]
        parts = [self.objective.scores(self._logprobs(start, part), part) for part in _batches(every)]
        scores = np.concatenate(parts)
        if cluster.is_first():
            storage.write_json(address, about | {"scores": scores.tolist()})
        return scores

    def _logprobs(self, state: TrainState, pairs: Sequence[PreferencePair]) -> list[np.ndarray]:
        return self.learner.logprobs(self.learner.working(state), self.learner.pack(_rows(pairs)), state.frozen)

    def step(self, state: TrainState, step: int, reference: np.ndarray | None) -> tuple[TrainState, dict[str, Any]]:
        """One update on ``rl.prompts_per_step`` pairs; ``state`` is donated."""
        chosen = shuffled(range(len(self.pairs)), step, self.config.rl.prompts_per_step, self.config.seed)
        pairs = [self.pairs[index] for index in chosen]
        packed = self.learner.pack(_rows(pairs))
        logprobs = self.learner.logprobs(self.learner.working(state), packed, state.frozen)
        metrics, weights = self.objective(logprobs, pairs, _of(reference, chosen))
        state, numbers = self.learner.update(state, packed.with_fields({"cotangents": weights}), linear)
        counts = _counts(pairs)
        record = numbers | {
            "loss": metrics["loss"],
            **{f"{self.config.rl.objective}/{name}": value for name, value in metrics.items()},
            "pairs/chosen_tokens": float(counts[::2].mean()),
            "pairs/rejected_tokens": float(counts[1::2].mean()),
            "tokens": float(counts.sum()),
            "batch/fill": packed.plan.fill,
        }
        return state, record

    def validate(
        self, step: int, state: TrainState, reference: np.ndarray | None, monitor: RunMonitor
    ) -> dict[str, float]:
        """Loss, margin and accuracy on held-out pairs, written to ``validation/000020.json`` too; {} without pairs."""
        if not self.held:
            return {}
        with monitor.events.timing("evaluation", step):
            logprobs = [row for part in _batches(self.held) for row in self._logprobs(state, part)]
            places = range(len(self.pairs), len(self.pairs) + len(self.held))
            metrics, _ = self.objective(logprobs, self.held, _of(reference, places))
        if cluster.is_first():
            storage.write_json(storage.join(self.workdir, "validation", f"{step:06d}.json"), {"step": step, **metrics})
        return metrics


def _batches(pairs: Sequence[PreferencePair]) -> list[Sequence[PreferencePair]]:
    return [pairs[at : at + _REFERENCE_BATCH] for at in range(0, len(pairs), _REFERENCE_BATCH)]


def _rows(pairs: Sequence[PreferencePair]) -> list:
    return [side.row for pair in pairs for side in (pair.chosen, pair.rejected)]


def _of(reference: np.ndarray | None, places: Sequence[int]) -> np.ndarray | None:
    """The reference scores of the pairs at these indices."""
    return None if reference is None else reference.reshape(-1, 2)[np.asarray(places)].reshape(-1)
