"""The loop: collect a step's groups, update, tell the sampler, write everything down; resume where a kill came."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from polaris_jax import storage
from polaris_jax.models import from_pretrained
from polaris_jax.optim import stored_dtype
from polaris_jax.rewards import RewardSpec, open_judge
from polaris_jax.rl.auto_weights import AutoWeightOptions, AutoWeights
from polaris_jax.rl.collecting import Collected, Stopped, collect, sampling_options
from polaris_jax.rl.config import check_rl_config, judge_spec, reward_spec
from polaris_jax.rl.journal import Journal
from polaris_jax.rl.objective import grpo
from polaris_jax.rl.opening import Run, claim_folder, data_state, open_run
from polaris_jax.rl.rewarding import Rewarder
from polaris_jax.rl.schedules import WeightSchedule
from polaris_jax.rl.tasks import shuffled
from polaris_jax.rl.updating import grpo_options, policy_update, preference_update
from polaris_jax.rl.validation import validation_metrics
from polaris_jax.sampling import Engine, Sampler
from polaris_jax.training import Checkpoints
from polaris_jax.training.metrics import MetricsFile
from polaris_jax.training.state import initial_state
from polaris_jax.training.stopping import stop_on_signal

VALIDATION, JUDGE, LEDGER = "validation", "judge", "ledger.json"
# Reward components and the fields of ``RewardSpec`` that weigh them.
WEIGHTS = {"story_quality": "quality_weight", "self_rep": "repetition_weight", "length_pen": "length_weight",
           "blank_pen": "blank_weight"}
_VALIDATING = 2**31  # a step number that no training step has: seeds of validation


@dataclass(frozen=True)
class RlResult:
    """``steps`` done in all; ``finished`` is False when a signal (its number in ``stopped_by``) ended the run early."""

    steps: int
    finished: bool
    stopped_by: int = 0


def post_train(
    config: ConfigDict, workdir: str | os.PathLike, *, on_step: Callable[[dict], None] = lambda record: None,
    on_start: Callable[[dict], None] = lambda facts: None, devices: Sequence[jax.Device] | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> RlResult:
    """Runs ``config`` in ``workdir``, or resumes it, in the middle of a step if need be.

    Args:
      on_start: called once with facts: ``resumed_at``, ``tasks``, ``validation``, ``left_out``, ``mesh``, ``judge``.
      on_step: called with every metrics record as it is written.
      devices: of the mesh; default all.
      say: takes lines about what is out of the ordinary.

    Raises:
      InputError: a bad config, unreadable data or model, or a folder that holds another run.
      BudgetSpent: the judge's budget is used up; with a larger one the run goes on where it stopped.
    """
    check_rl_config(config)
    workdir = Path(workdir)
    run = open_run(config, devices)
    claim_folder(str(workdir), run)
    spec = reward_spec(config)
    auto = _auto_weights(config, spec)
    checkpoints = Checkpoints(workdir, keep=config.train.keep_checkpoints, asynchronous=config.train.async_checkpoints)
    found = checkpoints.restore_newest(run.abstract, say)
    if found:
        state, saved = found
        start, spec = saved["step"], dataclasses.replace(spec, **saved["weights"])
        if auto is not None:
            auto.restore(saved["auto_weights"])
    else:
        start = 0
        state = initial_state(_pretrained(run), run.optimizer, run.abstract)
    anchor = _pretrained(run) if config.rl.kl_coef else None
    engine = _engine(run, state.params)
    judge = judge_spec(config, str(workdir / JUDGE))
    rewarder = Rewarder(None if judge is None else _open_judge(judge, workdir), as_released=config.rl.as_released)
    reference, cloning = (WeightSchedule(**config.rl[name].to_dict()) for name in ("reference", "cloning"))
    objective = grpo(grpo_options(config))
    orpo = config.rl.objective == "orpo"
    on_start({"resumed_at": start, "tasks": len(run.tasks), "validation": len(run.validation),
              "left_out": run.counts, "mesh": dict(run.learner.mesh.shape),
              "judge": "none" if judge is None else rewarder.judge.identity})
    file = MetricsFile(workdir, start)
    done = start

    def save() -> None:
        checkpoints.save(done, state, data_state(run, done) | {
            "weights": {field: getattr(spec, field) for field in WEIGHTS.values()},
            "auto_weights": auto and auto.state()})

    with stop_on_signal(config.train.grace_seconds) as stop:
        try:
            if start == 0 and config.validation.first:
                _validate(run, workdir, 0, engine, rewarder, spec)
            for step in range(start, config.train.steps):
                begun = time.perf_counter()
                weight, clone = reference(step), 0.0 if config.rl.as_released else cloning(step)
                tasks = shuffled(run.tasks, step, config.rl.prompts_per_step, config.seed)
                journal = Journal(workdir, step + 1)
                try:
                    collected = collect(config, step, tasks, journal, engine, None if orpo else rewarder, spec,
                                        references=orpo or weight > 0 or clone > 0, stop=stop)
                except Stopped:  # writing a step takes minutes; the journal brings back what there is of it
                    if done > start:
                        save()
                    break  # judgements on their way still go into the open journal
                journal.close()
                updating = time.perf_counter()
                if orpo:
                    state, metrics = preference_update(run.learner, state, collected.members)
                else:
                    state, metrics = policy_update(run.learner, state, collected.members, objective, step=step,
                                                   reference_weight=weight, cloning=clone, anchor=anchor)
                engine.set_params(state.params)
                done = step + 1
                record = {"step": done, **metrics, "reference/weight": weight, "cloning/weight": clone,
                          **_times(begun, updating, time.perf_counter(), collected)}
                new = auto and auto.update(done, {key: metrics[name] for key in auto.options.keys
                                                  if (name := f"reward/policy/{key}") in metrics})
                if new:
                    spec = dataclasses.replace(spec, **{WEIGHTS[key]: value for key, value in new.items()})
                    record |= {f"weight/{key}": value for key, value in new.items()}
                if run.validation and (done % config.validation.every == 0 or done == config.train.steps):
                    means = _validate(run, workdir, done, engine, rewarder, spec)
                    record |= {f"validation/{name}": value for name, value in means.items() if name != "distributions"}
                file.write(record)
                on_step(record)
                if done % config.train.checkpoint_every == 0 or done == config.train.steps or stop.number:
                    save()
                _write_ledger(rewarder, workdir)
                if stop.number:
                    break
        finally:
            _write_ledger(rewarder, workdir)
            rewarder.close()
            file.close()
            checkpoints.wait()
            checkpoints.close()
    return RlResult(done, done == config.train.steps, stop.number)


def _times(begun: float, updating: float, ended: float, collected: Collected) -> dict[str, float]:
    """Seconds of a step by what the mesh did; it idles while the last rewards are waited for and the host works."""
    seconds, update = ended - begun, ended - updating
    return {
        "step_time_s": seconds, "time/rollout_s": collected.writing.seconds, "time/judge_wait_s": collected.waited,
        "time/judge_threads_s": collected.judged, "time/update_s": update,
        "time/idle_fraction": max(0.0, 1 - (collected.writing.seconds + update) / seconds),
        "rollout/occupancy": collected.writing.occupancy, "rollout/resumed": float(collected.resumed),
        "rollout/tokens_per_s": collected.writing.tokens / max(collected.writing.seconds, 1e-9),
    }


def _pretrained(run: Run):
    config = run.learner.config
    return from_pretrained(config.model.path, dtype=stored_dtype(config.optim.precision), mesh=run.learner.mesh).params


def _engine(run: Run, params) -> Engine:
    config, mesh = run.learner.config, run.learner.mesh
    longest = config.data.max_prompt_tokens + config.rollout.max_tokens
    sampler = Sampler(params, run.learner.model, run.tokenizer, max_length=longest, first_capacity=min(longest, 1024),
                      prefill_chunk=min(longest, 256), cache_dtype=config.rollout.cache_dtype or None,
                      compute_dtype=config.model.compute_dtype, mesh=mesh if mesh.size > 1 else None)
    return Engine(sampler, slots=config.rollout.slots)


def _open_judge(spec, workdir: Path):
    judge = open_judge(spec)
    ledger = workdir / LEDGER
    if spec.kind == "llm" and ledger.exists():
        judge.client.ledger.restore(ledger)  # what earlier processes of this run spent counts against its budget
    return judge


def _write_ledger(rewarder: Rewarder, workdir: Path) -> None:
    client = getattr(rewarder.judge, "client", None)
    if client is not None:
        client.ledger.write(workdir / LEDGER)


def _auto_weights(config: ConfigDict, spec: RewardSpec) -> AutoWeights | None:
    options = {name: tuple(value) if isinstance(value, (list, tuple)) else value
               for name, value in config.rl.auto_weights.to_dict().items()}
    components = options.pop("components")
    if not components:
        return None
    weights = {key: getattr(spec, field) for key, field in WEIGHTS.items()}
    return AutoWeights(AutoWeightOptions(components, **options), weights)


def _validate(run: Run, workdir: Path, step: int, engine: Engine, rewarder: Rewarder, spec: RewardSpec) -> dict:
    """One response per held-out task: ``validation/000020.jsonl`` (rollouts, rewards) and ``.json`` (their means)."""
    config = run.learner.config
    if not run.validation:
        return {}
    single = config.copy_and_resolve_references()
    single.rl.update({"group_size": 1, "think_prefix": 0})
    journal = Journal(workdir, step, folder=VALIDATION)
    collected = collect(single, _VALIDATING, run.validation, journal, engine, rewarder, spec, references=False,
                        options=sampling_options(config, "validation_"))
    journal.close()
    metrics = validation_metrics([member.reward for member in collected.members],
                                 distributions=config.validation.distributions, bins=config.validation.bins)
    storage.write_json(str(journal.path.with_suffix(".json")), {"step": step, **metrics})
    return metrics
