"""The page of a post-training run: rewards and their components, lengths, the judge and its price, the policy."""

from dataclasses import dataclass
from pathlib import PurePath

from polaris_jax import storage
from polaris_jax.report import rl_charts
from polaris_jax.report.curves import change
from polaris_jax.report.page import render
from polaris_jax.report.run_state import JUDGE_STATUS, RunState

# Files of the run's folder: the judge's usage, and the facts at the start.
LEDGER, START = "ledger.json", "start.json"


@dataclass(frozen=True)
class JudgeCost:
    """The judge's usage so far, from the run's ledger; ``usd`` is None if prices are unknown."""

    calls: int
    cached: int
    failed: int
    retries: int
    tokens: int
    usd: float | None

    @property
    def usd_of_a_call(self) -> float | None:
        """Mean price; None without prices or calls."""
        return self.usd / self.calls if self.usd is not None and self.calls else None


def judge_cost(workdir: str) -> JudgeCost | None:
    """The cost from ``ledger.json``; None without a paid judge."""
    content = read_object(workdir, LEDGER)
    if not isinstance(content.get("calls"), int):
        return None
    names = ("calls", "cached", "failed", "retries", "tokens")
    counts = {name: int(content.get(name) or 0) for name in names}
    return JudgeCost(usd=content.get("usd"), **counts)


def read_object(workdir: str, name: str) -> dict:
    """A JSON object in the run's folder; {} without one."""
    content = storage.read_json(storage.join(workdir, name))
    return content if isinstance(content, dict) else {}


def is_post_training(state: RunState) -> bool:
    """Whether the run is a run of ``polaris rl``."""
    return any(name.startswith("rl.") for name in state.config) or any("reward/policy" in one for one in state.records)


def loss_unit(state: RunState) -> str:
    """The unit of the run's loss."""
    if not is_post_training(state):
        return "nats per token"
    found = _objective(state)
    return f"{found.upper()}, nats" if found in ("orpo", "dpo") else "surrogate objective, no unit"


def _objective(state: RunState) -> str:
    for name in ("orpo", "dpo"):
        if any(f"{name}/loss" in one for one in state.records):
            return name
    return state.config.get("rl.objective", "grpo")


def rl_page(state: RunState, samples: str | None = None) -> str:
    """The page as a string.

    Args:
      samples: address of the page of samples, relative to this one.
    """
    records = state.records
    failed = rl_charts.failure_kinds(records)
    judged = sum(one.get("reward/failed", 0.0) for one in records)
    return render(
        "rl_run.html",
        state=state,
        reward=change(records, "reward/policy"),
        reference=change(records, "reward/reference"),
        length_error=change(records, "length/error"),
        failed=failed,
        failed_in_all=judged,
        failed_in_last=records[-1].get("reward/failed") if records else None,
        cost=judge_cost(state.workdir),
        judge=read_object(state.workdir, JUDGE_STATUS),
        start=read_object(state.workdir, START),
        objective=_objective(state),
        loss=change(records, "loss"),
        reward_chart=rl_charts.reward_chart(records),
        component_charts=rl_charts.component_charts(records),
        length_chart=rl_charts.length_chart(records),
        groups=rl_charts.chart_groups(records),
        policy=rl_charts.POLICY,
        reference_colour=rl_charts.REFERENCE,
        samples=samples and PurePath(samples).name,
        lost={name.removeprefix("lost/"): s for name, s in state.goodput.items() if name.startswith("lost/")},
    )
