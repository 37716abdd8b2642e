"""A post-training run in the terminal: rewards, lengths, the judge and its price, and the policy's change."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rich.table import Table

from polaris_jax.report.curves import values
from polaris_jax.report.formats import DASH, count, decimal, duration, share
from polaris_jax.report.rl_charts import COMPONENTS, failure_kinds
from polaris_jax.report.rl_report import START, judge_cost, read_object
from polaris_jax.report.run_state import RunState

Sparkline: TypeAlias = Callable[[Sequence[float]], str]
# metric → label, decimals
POLICY = {
    "policy/kl_old": ("KL from the policy before the step (nats)", 4),
    "loss/divergence": ("KL to the reference policy, in the loss", 4),
    "policy/ratio": ("mean ratio to the policy before the step", 3),
    "sampler/surprise": ("entropy estimate (nats)", 3),
    "reference/correction": ("human reference's share of its weight", 3),
    "update/empty": ("share of updates without a row to learn from", 2),
}


def rl_tables(state: RunState, sparkline: Sparkline) -> list[Table]:
    """The tables only for post-training; ``sparkline`` draws a curve in one line."""
    return [_rewards(state, sparkline), _judge(state, sparkline), _policy(state, sparkline)]


def _rewards(state: RunState, sparkline: Sparkline) -> Table:
    table = Table("reward", "", expand=False)
    for heading in ("policy", "human reference"):
        table.add_column(heading, justify="right")
    for label, name in {"all": "", **{label: f"/{name}" for name, label in COMPONENTS.items()}}.items():
        policy, human = (values(state.records, f"reward/{who}{name}") for who in ("policy", "reference"))
        if policy or human:
            table.add_row(label, sparkline(policy), _last(policy, 3), _last(human, 3))
    words, targets = values(state.records, "length/words"), values(state.records, "length/target")
    if words:
        asked = f" of {count(round(targets[-1]))} asked" if targets else ""
        table.add_row("words", sparkline(words), f"{count(round(words[-1]))}{asked}", "")
    cut = values(state.records, "rollout/cut_off")
    if cut:
        table.add_row("cut off at the limit", sparkline(cut), share(cut[-1]), "")
    return table


def _judge(state: RunState, sparkline: Sparkline) -> Table:
    table = Table("judge", "", show_header=False, expand=False)
    table.add_column(justify="right")
    cost, start = judge_cost(state.workdir), read_object(state.workdir, START)
    if cost is not None:
        price = DASH if cost.usd is None else f"{cost.usd:.2f} USD"
        table.add_row("judge: spent", f"{count(cost.calls)} calls, {count(cost.cached)} cached", price)
        planned = start.get("forecast_usd")
        expected = (
            None if cost.usd is None or not state.step or not state.steps else cost.usd / state.step * state.steps
        )
        table.add_row(
            "judge: in the end",
            f"forecast {DASH if planned is None else f'{planned:.2f} USD'}",
            DASH if expected is None else f"{expected:.2f} USD",
        )
    for kind, (total, last) in failure_kinds(state.records).items():
        table.add_row(f"judge: {kind}", f"{count(round(last))} in the last step", count(round(total)))
    paused = values(state.records, "judge/paused_s")
    if paused and paused[-1]:
        table.add_row("judge: away", "", duration(paused[-1]))
    waits = values(state.records, "time/judge_wait_s")
    if waits:
        table.add_row("judge: waited for", sparkline(waits), duration(waits[-1]))
    return table


def _policy(state: RunState, sparkline: Sparkline) -> Table:
    table = Table("policy", "", show_header=False, expand=False)
    table.add_column(justify="right")
    for name, (label, decimals) in POLICY.items():
        numbers = values(state.records, name)
        if numbers:
            table.add_row(label, sparkline(numbers), decimal(numbers[-1], decimals))
    return table


def _last(numbers: list[float], decimals: int) -> str:
    return decimal(numbers[-1], decimals) if numbers else DASH
