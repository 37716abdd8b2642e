"""The loop: collects a step's groups, updates, passes the weights to the sampler and records; resumes after a kill."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from polaris_jax import storage
from polaris_jax.data import load_chat_template
from polaris_jax.errors import InputError
from polaris_jax.options import replace
from polaris_jax.rewards import WEIGHTS, Judge, ModelJudge, RewardSpec, open_judge
from polaris_jax.rl.auto_weights import AutoWeights
from polaris_jax.rl.benches import BenchRunner, bench_writer, check_benches
from polaris_jax.rl.collapse import CollapseWatch
from polaris_jax.rl.collecting import Collected, Stopped, collect, sampling_options
from polaris_jax.rl.config import AnyRlConfig, RlConfig, judge_spec, reward_spec, rl_config
from polaris_jax.rl.group_record import write_groups
from polaris_jax.rl.groups import member_advantages
from polaris_jax.rl.journal import Journal, open_journal
from polaris_jax.rl.objective import grpo
from polaris_jax.rl.outage import JudgeStatus, Outage
from polaris_jax.rl.pair_training import train_on_pairs
from polaris_jax.rl.preflight import length_report
from polaris_jax.rl.result import RlResult
from polaris_jax.rl.rewarding import Rewarder
from polaris_jax.rl.rollout_weights import RolloutWeights, rollout_mesh
from polaris_jax.rl.run_factory import RlRun, data_state, init_folder, make_run
from polaris_jax.rl.run_judge import START, judge_usage, refuse_below_quorum, restore_ledger, start_facts, write_ledger
from polaris_jax.rl.tasks import shuffled
from polaris_jax.rl.updating import grpo_options, policy_update, preference_update
from polaris_jax.rl.validation import validation_metrics
from polaris_jax.sampling import Engine, Sampler
from polaris_jax.training import Checkpoints, cluster, read_metrics
from polaris_jax.training.monitor import RunMonitor
from polaris_jax.training.run_folder import RUN_FILE
from polaris_jax.training.setup import pretrained_params, starting_state
from polaris_jax.training.state import TrainState
from polaris_jax.training.stopping import Stop, stop_on_signal

VALIDATION, JUDGE = "validation", "judge"
_VALIDATING = 2**31  # for the seeds of validation: a step number that no training step has


def post_train(
    config: AnyRlConfig,
    workdir: str | os.PathLike,
    *,
    on_step: Callable[[dict], None] = lambda record: None,
    on_start: Callable[[dict], None] = lambda facts: None,
    devices: Sequence[jax.Device] | None = None,
    benches: BenchRunner | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> RlResult:
    """Runs ``config`` in ``workdir`` (local or gs://), or resumes it, even in the middle of a step.

    Args:
      on_start: called once with facts: ``resumed_at``, ``tasks``, ``validation``, ``left_out``, ``lengths``, ``mesh``,
        ``judge``, ``forecast``; they are in ``start.json`` too.
      on_step: called with every metrics record as it is written.
      devices: for the mesh; default: all devices of all processes. In a run of several processes, every one must call
        this function.
      benches: runs the benchmarks of ``config.validation.benches``.
      say: receives lines about unusual events.

    Raises:
      InputError: a bad config, unreadable data or model, or a folder that holds another run.
      BudgetSpent: the judge's budget is used up; with a larger one the run continues where it stopped.
      RunError: the run cannot continue: the judge cannot be asked or judged too little (``rl.quorum``), gradients stay
        non-finite, the run has collapsed (``rl.collapse``), or the disk is full. The same call resumes it.
    """
    begun = time.perf_counter()
    config = rl_config(config)
    if config.data.kind == "pairs":
        return train_on_pairs(config, workdir, on_step=on_step, on_start=on_start, devices=devices, say=say)
    check_benches(config, benches)
    if config.validation.benches and jax.process_count() > 1:
        advice = "benchmarks run in one process; leave them out, and run polaris evaluate on the checkpoints"
        raise InputError("config.validation.benches", config.validation.benches, advice)
    say = cluster.said_once(say)
    workdir = storage.check(os.fspath(workdir))
    run = make_run(config, devices)
    lengths = length_report(run.tasks, config)
    if lengths.guessed:
        say(f"{lengths.guessed} of {len(run.tasks)} requested lengths are guessed: a prompt names none or several")
    spec = judge_spec(config, storage.join(workdir, JUDGE))
    judge: Judge | None = None
    asked = config.rl.objective != "orpo" or run.validation or config.validation.benches

    def open_and_check() -> None:
        nonlocal judge
        judge = None if spec is None else open_judge(spec)
        if isinstance(judge, ModelJudge) and asked:  # ORPO prefers the human story without a judge
            judge.client.ready()

    cluster.run_on_first_process(open_and_check, "config.judge")
    init_folder(workdir, run)
    if storage.read(storage.join(workdir, RUN_FILE)) is None:
        raise InputError("--workdir", workdir, "must be in a bucket, or on a disk that all hosts of the run share")
    checkpoints = Checkpoints(workdir, keep=config.train.keep_checkpoints, asynchronous=config.train.async_checkpoints)
    state, saved = starting_state(config, run.setup, checkpoints.restore_newest(run.setup.abstract, say))
    saved = saved or {"step": 0}
    start = saved["step"]
    restore_ledger(judge, workdir)
    status = JudgeStatus(None if judge is None else workdir, say)
    rewarder = Rewarder(judge, Outage(config.judge.pause, status), as_released=config.rl.as_released)
    if cluster.is_first():
        facts = start_facts(config, run, start, lengths, spec, judge)
        storage.write_json(storage.join(workdir, START), facts)
        if judge is not None:
            status.write("answering")  # replaces the status of an earlier process
        on_start({name: value for name, value in facts.items() if value is not None})
    monitor = RunMonitor(workdir, config, start, on_step)
    rollout = rollout_mesh(config, run.learner.model, run.learner.mesh)
    weights = RolloutWeights(config, rollout, run.setup.split)
    engine = _engine(run, rollout, weights(state))
    loop = _Loop(run, workdir, checkpoints, monitor, rewarder, engine, weights, saved, say, benches)
    with stop_on_signal(config.train.grace_seconds) as stop:
        try:
            done = loop.go(state, start, stop, begun)
        finally:
            write_ledger(rewarder.judge, workdir)
            rewarder.close()
            if loop.journal is not None:
                loop.journal.close()
            with monitor.events.timing("checkpoint", start):
                checkpoints.wait()
            checkpoints.close()
            monitor.close()
    return RlResult(done, done == config.train.steps, stop.number)


class _Loop:
    """The steps from a restored state to the end.

    Args:
      saved: data state of the checkpoint, with its reward weights. say: receives lines about unusual events.
    """

    def __init__(
        self,
        run: RlRun,
        workdir: str,
        checkpoints: Checkpoints,
        monitor: RunMonitor,
        rewarder: Rewarder,
        engine: Engine,
        weights: RolloutWeights,
        saved: dict,
        say: Callable[[str], None],
        benches: BenchRunner | None,
    ):
        self.say, self.benches, self.weights = say, benches, weights
        self.journal: Journal | None = None  # the journal of the step being collected
        self.run, self.workdir, self.config = run, workdir, run.learner.config
        self.checkpoints, self.monitor, self.rewarder, self.engine = checkpoints, monitor, rewarder, engine
        config = self.config
        self.spec = reward_spec(config)
        self.auto = _auto_weights(config, self.spec)
        if "weights" in saved:
            self.spec = dataclasses.replace(self.spec, **saved["weights"])
            if self.auto is not None:
                self.auto.restore(saved["auto_weights"])
        self.reference_params = pretrained_params(config, run.setup) if config.rl.kl_coef else None
        self.objective = grpo(grpo_options(config))
        self.orpo = config.rl.objective == "orpo"
        before = (record for record in read_metrics(workdir) if record.get("step", 0) <= saved["step"])
        self.collapse = CollapseWatch(config.rl.collapse, before)

    def go(self, state: TrainState, start: int, stop: Stop, begun: float) -> int:
        """Trains to the last step or until asked to stop; returns the number of steps done.

        Args:
          begun: when the process began this run, by ``time.perf_counter``.
        """
        config, monitor, done = self.config, self.monitor, start
        monitor.events.note("start", start, time.perf_counter() - begun)
        if start == 0 and config.validation.first:
            self._validate(0)
            self._run_benches(0)
        for step in range(start, config.train.steps):
            try:
                with monitor.step(step + 1):
                    state, record = self._step(state, step, stop)
            except Stopped:  # writing a step takes minutes; the journal keeps what is done
                if done > start:
                    self._save(done, state)
                break  # pending judgements still go into the open journal
            done = step + 1
            monitor.refuse_endless_skipping(record, data_state(self.run, step), self.checkpoints.latest)
            finished = done == config.train.steps
            if done % config.validation.every == 0 or finished:
                means = self._validate(done)
                record |= {f"validation/{name}": value for name, value in means.items() if name != "distributions"}
                record |= self._run_benches(done)
            asked = bool(stop.requested())
            due = done % config.train.checkpoint_every == 0 or finished or asked
            monitor.write(record, with_goodput=due)
            if due:
                self._save(done, state)
            write_ledger(self.rewarder.judge, self.workdir)
            self.collapse.look(record)  # uses only numbers that all processes have
            if asked:
                break
        cluster.barrier("the end")
        return done

    def _step(self, state: TrainState, step: int, stop: Stop) -> tuple[TrainState, dict]:
        """Collects a step's groups and learns from them; ``state`` is donated.

        Raises:
          Stopped: a stop was requested while the groups were written.
        """
        config, begun = self.config, time.perf_counter()
        weight, clone = config.rl.human_reference(step), config.rl.cloning(step)
        tasks = shuffled(self.run.tasks, step, config.rl.prompts_per_step, config.seed)
        self.journal = journal = open_journal(self.workdir, step + 1)
        collected = collect(
            config,
            step,
            tasks,
            journal,
            self.engine,
            None if self.orpo or not cluster.is_first() else self.rewarder,
            self.spec,
            human_references=self.orpo or weight > 0 or clone > 0,
            stop=stop,
        )
        journal.close()
        advantages = None if self.orpo else member_advantages(collected.members, config, weight)

        def settle() -> None:
            if journal.changed() and (dropped := journal.drop_later()):
                self.say(f"step {step + 1}: failed judgements came out; {dropped} later steps are written anew")
            if not self.orpo and self.rewarder.judge is not None:
                refuse_below_quorum(config, step + 1, collected.members, self.rewarder.failed_in_a_row)
            write_groups(journal.stem, step + 1, collected.members, advantages)

        cluster.run_on_first_process(settle, f"step {step + 1}")
        self.engine.release()  # the update needs the memory
        updating = time.perf_counter()
        if self.orpo:
            state, metrics = preference_update(self.run.learner, state, collected.members)
        else:
            state, metrics = policy_update(
                self.run.learner,
                state,
                collected.members,
                self.objective,
                step=step,
                human_reference_weight=weight,
                cloning=clone,
                reference_params=self.reference_params,
            )
        self.engine.set_params(self.weights(state))
        record = {"step": step + 1, **metrics, "reference/weight": weight, "cloning/weight": clone}
        record |= _times(begun, updating, time.perf_counter(), collected) | judge_usage(
            self.rewarder.judge, self.rewarder.paused
        )
        return state, record | self._moved_weights(step + 1, metrics)

    def _moved_weights(self, done: int, metrics: dict) -> dict[str, float]:
        """New weights of the reward's components, if this step moves them."""
        if self.auto is None:
            return {}
        components = self.auto.options.components
        means = {key: metrics[name] for key in components if (name := f"reward/policy/{key}") in metrics}
        new = self.auto.update(done, means) or {}
        self.spec = replace(self.spec, {WEIGHTS[key]: value for key, value in new.items()}, "rewards")
        return {f"weight/{key}": value for key, value in new.items()}

    def _save(self, done: int, state: TrainState) -> None:
        self.monitor.flush()
        more = {
            "weights": {field: getattr(self.spec, field) for field in WEIGHTS.values()},
            "auto_weights": self.auto and self.auto.state(),
        }
        with self.monitor.events.timing("checkpoint", done):
            self.checkpoints.save(done, state, data_state(self.run, done) | more)

    def _validate(self, step: int) -> dict:
        """One response per held-out task: ``validation/000020.jsonl`` (rollouts, rewards), ``.json`` (their means)."""
        config = self.config
        if not self.run.validation:
            return {}
        # ``rl_config`` would refuse a group of one row, so the fields are replaced after the check.
        single = dataclasses.replace(config, rl=dataclasses.replace(config.rl, group_size=1, think_prefix=0))
        journal = open_journal(self.workdir, step, folder=VALIDATION)
        with self.monitor.events.timing("evaluation", step):
            collected = collect(
                single,
                _VALIDATING,
                self.run.validation,
                journal,
                self.engine,
                self.rewarder if cluster.is_first() else None,
                self.spec,
                human_references=False,
                options=sampling_options(config, "validation_"),
            )
        journal.close()
        metrics = validation_metrics(
            [member.reward for member in collected.members if member.reward is not None],
            distributions=config.validation.distributions,
            bins=config.validation.bins,
        )
        if cluster.is_first():
            storage.write_json(f"{journal.stem}.json", {"step": step, **metrics})
        return metrics

    def _run_benches(self, step: int) -> dict[str, float]:
        """Runs ``validation.benches`` with the current weights: ``bench/NAME/score`` and so on."""
        config, judge = self.config, self.rewarder.judge
        names, limit = config.validation.benches, config.validation.bench_limit
        if self.benches is None or not names or not isinstance(judge, ModelJudge):
            return {}
        found: dict[str, float] = {}
        write = bench_writer(config, self.engine, load_chat_template(config.model.path, self.run.tokenizer))
        with self.monitor.events.timing("evaluation", step):
            for name in names:
                means = self.benches(name, limit, write, judge.client, step, self.workdir)
                found |= {f"bench/{name}/{key}": value for key, value in means.items()}
        return found


def _times(begun: float, updating: float, ended: float, collected: Collected) -> dict[str, float]:
    """Seconds of a step by what the mesh did. It idles while the last rewards are awaited and while the host works."""
    seconds, update = ended - begun, ended - updating
    return {
        "step_time_s": seconds,
        "time/rollout_s": collected.stats.seconds,
        "time/judge_wait_s": collected.waited,
        "time/judge_threads_s": collected.judged,
        "time/update_s": update,
        "time/idle_fraction": max(0.0, 1 - (collected.stats.seconds + update) / seconds),
        "rollout/occupancy": collected.stats.occupancy,
        "rollout/resumed": float(collected.resumed),
        "rollout/tokens_per_s": collected.stats.tokens / max(collected.stats.seconds, 1e-9),
    }


def _engine(run: RlRun, mesh: Mesh | None, params: Any) -> Engine:
    config = run.learner.config
    longest = config.data.max_prompt_tokens + config.rollout.max_tokens
    sampler = Sampler(
        params,
        run.learner.model,
        run.tokenizer,
        max_length=longest,
        first_capacity=min(longest, 1024),
        prefill_chunk=min(longest, 256),
        cache_dtype=config.rollout.cache_dtype or None,
        compute_dtype=config.model.compute_dtype,
        mesh=mesh,
    )
    return Engine(sampler, slots=config.rollout.slots, exact=True)


def _auto_weights(config: RlConfig, spec: RewardSpec) -> AutoWeights | None:
    if not config.rl.auto_weights.components:
        return None
    return AutoWeights(config.rl.auto_weights, {key: getattr(spec, field) for key, field in WEIGHTS.items()})
