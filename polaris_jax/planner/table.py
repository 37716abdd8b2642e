"""Shows a verdict in the terminal."""

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from polaris_jax.planner.hlo import ICI
from polaris_jax.planner.verdict import PlanVerdict

_SOURCES = {
    "compiler": "the TPU compiler, to buffer assignment",
    "compiler-full": "the TPU compiler, to machine code",
    "analytic": "an estimate by arithmetic (libtpu is not installed or not asked)",
}
_BAR = 40  # characters


def show(verdict: PlanVerdict, console: Console) -> None:
    """Prints memory, time and communication as three tables."""
    console.print(Group(_headline(verdict), _memory(verdict), _time(verdict), _traffic(verdict)))


def _headline(v: PlanVerdict) -> Text:
    mesh = " × ".join(f"{axis} {size}" for axis, size in v.mesh.items() if size > 1) or "one device"
    name = v.topology if v.slices == 1 else f"{v.slices} × {v.topology}"
    text = Text(f"{name} ({v.layout}, {v.chips} chips), {mesh}: {v.batch_size} × {v.window:,} tokens\n")
    text.append("fits" if v.fits else "does not fit", style="bold green" if v.fits else "bold red")
    text.append(f", according to {_SOURCES[v.source]}")
    if v.choice:
        text.append(f"\n{v.choice}")
    if v.error:
        text.append(f"\nthe compiler refused it: {v.error[:300]}", style="red")
    if v.suggestion:
        text.append(f"\nthe smallest change that fits: {v.suggestion}", style="bold")
    return text


def _memory(v: PlanVerdict) -> Table:
    table = Table("memory", "GiB per chip", "", title_justify="left")
    for name, size in v.parts.items():
        if size and name != "offloaded":
            table.add_row(name.replace("_", " "), f"{size:.2f}", "█" * round(_BAR * size / max(v.hbm_limit_gib, 1e-9)))
    table.add_row(
        "HBM at the peak",
        f"{v.hbm_gib_per_chip:.2f} of {v.hbm_limit_gib:.2f}",
        f"{v.hbm_gib_per_chip / v.hbm_limit_gib:.0%}",
        style="bold",
    )
    if v.host_gib_per_chip:
        table.add_row("host memory", f"{v.host_gib_per_chip:.2f}")
    return table


def _time(v: PlanVerdict) -> Table:
    table = Table("time", "seconds per step", "")
    for name, seconds in sorted(v.terms.items(), key=lambda term: -term[1]):
        if seconds >= 0.0005 * v.step_time_s:
            table.add_row(name.replace("_", " "), f"{seconds:.2f}", "█" * round(_BAR * seconds / v.step_time_s))
    table.add_row(
        "step",
        f"{v.step_time_s:.2f}",
        f"expected: MFU {v.mfu:.1%}, {v.tokens_per_s_per_chip:,.0f} tokens/s per chip, "
        f"limited by {v.limiting_term.replace('_', ' ')}",
        style="bold",
    )
    table.add_row("", f"{v.step_time_least_s:.2f}", "at least")
    table.caption = v.time_source
    table.caption_justify = "left"
    if v.dcn:
        table.add_row(
            "between slices",
            f"{v.dcn['seconds']:.2f}",
            f"{v.dcn['gb_per_chip']:.3f} GB per chip over the data-centre network, {v.terms['dcn']:.2f} s not hidden",
        )
    if v.cost:
        table.add_row(
            "cost",
            "",
            f"${v.cost['usd_per_hour']:,.2f}/h, ${v.cost['usd_per_million_tokens']:.2f} per million tokens; a run of "
            f"{v.cost['steps']:,} steps {v.cost['hours_per_run']:,.1f} h, ${v.cost['usd_per_run']:,.0f}, on demand",
        )
    if v.attention_forward_runs is not None:
        table.add_row("attention forward", "", f"runs {v.attention_forward_runs:g} × per layer and hop")
    return table


def _traffic(v: PlanVerdict) -> Table:
    table = Table("collective", "where", "per step", "GB per device", "meanwhile")
    table.columns[0].no_wrap = True
    for row in v.collectives:
        if row.bytes >= 1e6:
            meanwhile = row.overlapped_with if row.asynchronous else "the device waits"
            table.add_row(
                row.kind if row.network == ICI else f"{row.kind} (DCN)",
                row.where,
                f"{row.count:,}",
                f"{row.bytes / 1e9:.2f}",
                meanwhile,
                style="" if row.asynchronous else "yellow",
            )
    return table
