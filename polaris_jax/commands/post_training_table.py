"""Prints the plan of a post-training run as a table."""

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from polaris_jax.post_training_plan import BANDWIDTH_SHARE, JUDGE_LATENCY, PostTrainingVerdict

_SOURCES = {
    "compiler": "memory and traffic by the TPU compiler, to buffer assignment",
    "analytic": "an estimate by arithmetic (libtpu is not installed or not asked)",
}


def show_phases(v: PostTrainingVerdict, console: Console) -> None:
    """Prints a row per phase, and the totals of the whole run."""
    text = Text(f"{v.topology} ({v.layout}, {v.chips} chips): {v.rows} rows, at most {v.tokens:,} tokens a step\n")
    text.append("fits" if v.fits else "does not fit", style="bold green" if v.fits else "bold red")
    text.append(f"; {_SOURCES[v.source]}")
    table = Table("phase", "mesh", "GiB", "state", "moved", "s per step", "at least")
    for phase in v.phases:
        writing = phase.name == "rollout"
        table.add_row(
            phase.name,
            _axes(v.rollout_mesh if writing else v.mesh),
            Text(f"{phase.hbm_gib:.2f}", style="" if phase.fits else "bold red"),
            f"{phase.resident_gib:.2f}",
            f"{phase.moved_gb:.3f} GB" + (" a token" if writing else ""),
            f"{phase.seconds:.1f}",
            f"{phase.least:.1f}",
        )
    table.caption = (
        f"GiB per chip, of {v.hbm_limit_gib:.2f}; state: of that, the learner's, beside the phase's program; "
        "moved: what collectives bring to a chip; times by arithmetic: every response as long as it may be, weights "
        f"and caches read at {BANDWIDTH_SHARE:.0%} of the memory's bandwidth (at least: all of it); the optimizer's "
        "time stands with the gradients"
    )
    table.caption_justify = "left"
    lines = [
        f"step: {v.step_s:.0f} s of device time (at least {v.step_least_s:.0f} s)"
        + (f", and {v.judge_wait_s:.0f} s for the judge's last answer" if v.judge_wait_s else ""),
        f"run: {v.steps} steps, {v.hours:.1f} h"
        + ("" if v.usd is None else f", ${v.usd:,.0f} for the chips on demand"),
    ]
    if v.judge_calls:
        price = "price unknown" if v.judge_usd is None else f"${v.judge_usd:,.0f}"
        lines.append(
            f"judge: at most {v.judge_calls:,} questions, {price}; {JUDGE_LATENCY:.0f} s per answer assumed, all but a "
            "step's last while responses are written"
        )
    console.print(Group(text, table, *lines))


def _axes(mesh: dict[str, int]) -> str:
    return " x ".join(f"{axis} {size}" for axis, size in mesh.items() if size > 1) or "one device"
