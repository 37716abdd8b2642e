"""Small charts of a run's metrics: losses per stage role on one scale, every other metric on its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polaris_jax.report.charts import ChartFrame, Series, line_chart
from polaris_jax.report.curves import ROLE_PREFIX, Change, change, loss_kinds, loss_roles, points

SMALL = ChartFrame(232, 132, left=38, right=8, top=8, bottom=22)
# Metrics of the execution, in the order of the page: metric → label.
RUN = {
    "step_time_s": "step time (s)",
    "tokens_per_s": "tokens per second",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
    "update_norm": "update norm",
    "param_norm": "parameter norm",
}


@dataclass(frozen=True)
class SmallChart:
    """One of several charts."""

    name: str
    css: str
    chart: Markup
    change: Change | None


def role_charts(records: Sequence[dict]) -> list[SmallChart]:
    """Training losses per stage role, all on one scale."""
    curves = {role: points(records, ROLE_PREFIX + role) for role in loss_roles(records)}
    everything = [y for curve in curves.values() for _, y in curve]
    return [
        SmallChart(
            role,
            f"r-{role}",
            line_chart(
                [Series(role, f"r-{role}", curve)],
                f"Loss of {role}",
                frame=SMALL,
                x_label="",
                limits=(min(everything), max(everything)),
            ),
            change(records, ROLE_PREFIX + role),
        )
        for role, curve in curves.items()
    ]


def run_charts(records: Sequence[dict]) -> list[SmallChart]:
    """Time, throughput, rate and norms, each on its own scale from zero."""
    return [_chart(records, key, label) for key, label in RUN.items() if points(records, key)]


def all_charts(records: Sequence[dict]) -> list[SmallChart]:
    """``run_charts``, and every other logged metric in alphabetical order."""
    shown = {
        "step",
        *RUN,
        *(f"loss/{kind}" for kind in loss_kinds(records)),
        *(ROLE_PREFIX + role for role in loss_roles(records)),
    }
    rest = sorted({key for record in records for key in record} - shown)
    return run_charts(records) + [_chart(records, key, key) for key in rest if points(records, key)]


def _chart(records: Sequence[dict], key: str, label: str) -> SmallChart:
    # For parameter norms and losses, the change matters, not the distance from zero.
    limits = None if key.startswith("param_norm") or "loss" in key else (0, 0)
    series = Series(label, "plain", points(records, key))
    return SmallChart(
        label,
        "plain",
        line_chart([series], label, frame=SMALL, x_label="", limits=limits, smooth=False),
        change(records, key),
    )
