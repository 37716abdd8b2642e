"""The judge of a run: its cost so far, its expected cost, and whether it judged enough for an update."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import RunError
from polaris_jax.rewards import Judge, JudgeSpec, ModelJudge
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.groups import Member, judged_groups
from polaris_jax.rl.preflight import LengthReport, judge_forecast
from polaris_jax.rl.run_factory import RlRun

LEDGER, START = "ledger.json", "start.json"  # in the run's folder: the judge's usage, and the facts at the start


def start_facts(
    config: RlConfig, run: RlRun, done: int, lengths: LengthReport, spec: JudgeSpec | None, judge: Judge | None
) -> dict[str, Any]:
    """The facts that a run prints at its start and writes to ``start.json``; ``forecast_usd`` is None without prices.

    Args:
      done: steps done before.
    """
    forecast = judge_forecast(spec, config, run.tasks, run.validation, done)
    return {
        "resumed_at": done,
        "tasks": len(run.tasks),
        "validation": len(run.validation),
        "left_out": run.counts,
        "lengths": str(lengths),
        "mesh": dict(run.learner.mesh.shape),
        "judge": "none" if judge is None else judge.identity,
        "forecast": "none" if forecast is None else str(forecast),
        "forecast_usd": None if forecast is None else forecast.usd,
        "forecast_calls": None if forecast is None else forecast.calls,
    }


def restore_ledger(judge: Judge | None, workdir: str) -> None:
    """Counts what earlier processes of this run spent against the budget."""
    ledger = storage.join(workdir, LEDGER)
    if isinstance(judge, ModelJudge) and storage.read(ledger) is not None:
        judge.client.usage.restore(ledger)


def write_ledger(judge: Judge | None, workdir: str) -> None:
    """Writes the judge's usage so far to ``ledger.json``."""
    if isinstance(judge, ModelJudge):
        judge.client.usage.write(storage.join(workdir, LEDGER))


def judge_usage(judge: Judge | None, paused: float) -> dict[str, float]:
    """The judge's usage so far as metrics of a step: ``judge/usd`` (if prices are known), ``judge/paused_s``, ..."""
    if not isinstance(judge, ModelJudge):
        return {}
    usage = judge.client.usage
    found = {"calls": usage.calls, "cached": usage.cached, "tokens": usage.tokens, "usd": usage.usd, "paused_s": paused}
    return {f"judge/{name}": float(value) for name, value in found.items() if value is not None}


def refuse_below_quorum(config: RlConfig, step: int, members: Sequence[Member], failed_in_a_row: int) -> None:
    """Stops a run whose judge judged too little of a step to learn from, or broke down during the step.

    Raises:
      RunError: the share of groups that can be compared is below ``rl.quorum``, or the last ``rl.failures_in_a_row``
        judgements failed. The message says how they failed.
    """
    judged, groups = judged_groups(members)
    broken = 0 < config.rl.failures_in_a_row <= failed_in_a_row
    if judged and judged >= config.rl.quorum * groups and not broken:
        return
    rewards = [member.reward for member in members if member.reward is not None]
    failed = [(reward.failed, reward.judgement or {}) for reward in rewards if reward.failed]
    if not failed:
        return  # groups of one rollout can never be compared; the judge is not at fault
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(kind for kind, _ in failed).most_common())
    example = next((one["detail"] for _, one in failed if one.get("detail")), "")
    why = f"{judged} of {groups} groups could be judged, and config.rl.quorum is {config.rl.quorum:g}"
    if broken:
        why = f"the last {failed_in_a_row} judgements failed (config.rl.failures_in_a_row)"
    raise RunError(
        f"step {step}: {why}; "
        f"{len(failed)} of {len(rewards)} judgements failed ({kinds}; {example}). No weight was moved and the "
        "responses are kept: repair the judge and run the same command again"
    )
