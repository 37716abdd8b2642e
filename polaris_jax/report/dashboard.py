"""One frame of a run for the terminal, as a ``rich`` renderable: progress, losses with curves, rates, health."""

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from polaris_jax.report.curves import values
from polaris_jax.report.formats import DASH, compact, count, decimal, duration, share, signed
from polaris_jax.report.rl_dashboard import rl_tables
from polaris_jax.report.rl_report import is_post_training, loss_unit
from polaris_jax.report.run_state import RunState

BARS = "▁▂▃▄▅▆▇█"
COLOURS = {"running": "green", "finished": "green", "starting": "yellow", "paused": "yellow"}
COLOURS |= {"stale": "red", "failed": "red"}

# Metrics shown with their latest value, where a run logs them: metric → label, factor, unit.
LATEST = {
    "grad_norm": ("gradient norm", 1, ""),
    "qk_max_logit": ("largest attention logit", 1, ""),
    "skipped_steps": ("skipped steps", 1, ""),
    "hbm_peak_bytes": ("HBM at most", 2**-30, " GiB"),
}


def sparkline(numbers: Sequence[float], width: int) -> str:
    """A curve in one line of at most ``width`` characters, each the mean of an equal share of the values."""
    if not numbers:
        return ""
    width = min(width, len(numbers))
    edges = [round(index * len(numbers) / width) for index in range(width + 1)]
    means = [sum(numbers[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return BARS[len(BARS) // 2] * width
    return "".join(BARS[min(len(BARS) - 1, int((mean - low) / (high - low) * len(BARS)))] for mean in means)


def dashboard(state: RunState, width: int = 100) -> Group:
    """The frame; ``width`` is the terminal's width in characters."""
    curve = max(10, min(48, width - 62))
    about = []
    if is_post_training(state):
        about = rl_tables(state, lambda numbers: sparkline(numbers, curve))
    return Group(_head(state), *about, *_loss_table(state, curve), _rates(state, curve))


def _head(state: RunState) -> Panel:
    colour = COLOURS[state.health]
    end = f" of {count(state.steps)}" if state.steps is not None else ""
    line = Text.assemble(
        (state.health, f"bold {colour}"),
        f"  {state.sentence}\n",
        f"step {count(state.step)}{end}",
        f"   to go {duration(state.eta_s) if state.health != 'finished' else DASH}",
        f"   tokens {compact(state.tokens)}   ",
        _checkpoint(state),
    )
    bar = ProgressBar(total=state.steps or 1, completed=state.step if state.steps else 0, complete_style=colour)
    return Panel(Group(line, bar), title=state.workdir, title_align="left", border_style=colour)


def _checkpoint(state: RunState) -> Text:
    if state.checkpoint is None:
        return Text("no checkpoint yet", style="yellow")
    return Text(f"checkpoint {count(state.checkpoint.step)}, {duration(state.checkpoint.age_s)} ago")


def _loss_table(state: RunState, curve: int) -> list[Table]:
    if not state.losses:
        return []
    table = Table(f"loss ({loss_unit(state)})", "", expand=False)
    for heading in ("first quarter", "last quarter", "change"):
        table.add_column(heading, justify="right")
    for one in state.losses:
        style = "bold" if one.name == "loss" else ""
        table.add_row(
            Text(_short(one.name), style=style),
            sparkline(values(state.records, one.name), curve),
            decimal(one.first),
            decimal(one.last),
            Text(signed(one.difference), style="green" if one.difference < 0 else "red"),
        )
    return [table]


def _short(name: str) -> str:
    """``loss`` -> all, ``loss/role/book_plan`` -> role/book_plan, ``eval/loss`` -> eval/all."""
    return f"{name}/all".replace("loss/", "", 1) if name.endswith("loss") else name.replace("loss/", "", 1)


def _rates(state: RunState, curve: int) -> Table:
    table = Table("rate", "", show_header=False, expand=False)
    table.add_column(justify="right")
    speeds = values(state.records, "tokens_per_s")
    table.add_row("tokens/s", sparkline(speeds, curve), count(state.tokens_per_second))
    table.add_row("tokens/s per chip", "", decimal(state.tokens_per_second_per_device, 1))
    table.add_row("step time", sparkline(values(state.records, "step_time_s"), curve), duration(state.step_seconds))
    if state.slowest is not None:
        found = state.slowest
        table.add_row(
            "slowest host",
            f"process {found.process}: {decimal(found.seconds, 2)} s behind, last in {share(found.share)} of the steps",
            found.host or str(found.process),
        )
    if state.mfu is not None:
        table.add_row("MFU", sparkline(values(state.records, "mfu"), curve), share(state.mfu))
    if state.goodput:
        lost = {
            name.removeprefix("lost/"): seconds
            for name, seconds in state.goodput.items()
            if name.startswith("lost/") and seconds >= 0.05
        }
        causes = (
            ", ".join(
                f"{name} {duration(seconds)}" for name, seconds in sorted(lost.items(), key=lambda item: -item[1])
            )
            or "nothing lost"
        )
        table.add_row("goodput", causes, share(state.goodput.get("goodput")))
    for name, (label, scale, unit) in LATEST.items():
        numbers = values(state.records, name)
        if numbers and (name != "skipped_steps" or numbers[-1]):
            table.add_row(label, sparkline(numbers, curve), f"{decimal(numbers[-1] * scale, 2)}{unit}")
    return table
