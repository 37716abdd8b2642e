"""``build_report.html``: the contents of a token store, and the books left out and why.

The page beside the store depends only on the store's content, so a new build gives the same bytes. The page in the work
area adds numbers of the run: time per stage, throughput, and the cost of the model.
"""

from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from polaris_jax import storage
from polaris_jax.corpus import Build
from polaris_jax.corpus.options import SPLITS
from polaris_jax.corpus.stage_timer import STAGES
from polaris_jax.report.charts import nice_ticks, tick_label
from polaris_jax.report.page import render
from polaris_jax.report.sections import PUBLISHED_SHARES
from polaris_jax.trajectory import KINDS

PAGE = "build_report.html"
_STAGE_COLOURS = ("k-header", "t2", "t5", "t1", "k-prompt", "t4", "t3", "t6")
_GROUPS = {"prompt": ("prompt",), "scaffold": ("header", "scaffold", "copy"), "prose": ("prose",)}


@dataclass(frozen=True)
class Speed:
    """Throughput per core for the books planned in this run; seconds are summed over the stages."""

    seconds: float
    megabytes_per_second: float
    tokens_per_second: float


def write_build_report(build: Build, out: str, work: str) -> str:
    """Writes ``OUT/build_report.html`` and ``WORK/build_report.html``; returns the address of the second."""
    storage.write(storage.join(out, PAGE), build_page(build.report).encode())
    page = storage.join(work, PAGE)
    storage.write(page, build_page(build.report, build.run).encode())
    return page


def build_page(report: dict, run: dict | None = None) -> str:
    """The page of a build report; with ``run`` also the numbers of the run."""
    shares = _shares(report["by_kind"])
    return render(
        "build_report.html",
        report=report,
        run=run,
        speed=_speed(run),
        shares=shares,
        published=PUBLISHED_SHARES,
        splits=[(name, report["splits"][name]) for name in SPLITS],
        stages=_stages(run),
        grouped={group: sum(shares.get(kind, 0.0) for kind in kinds) for group, kinds in _GROUPS.items()},
        built=[row for row in report["books"] if row["status"] == "built"],
        copies=[row for row in report["books"] if row["status"] == "duplicate"],
        left_out=[row for row in report["books"] if row["status"] not in ("built", "duplicate")],
        lengths=length_histogram([row["tokens"] for row in report["trajectories"]]),
        fields_rows=_fields(report),
    )


def _shares(kinds: dict[str, int]) -> dict[str, float]:
    total = sum(kinds.values())
    return {kind: kinds[kind] / total for kind in KINDS} if total else {}


def _stages(run: dict | None) -> list[tuple[str, str, float]]:
    """(stage, colour, seconds) in the order of the work."""
    seconds = run["seconds_by_stage"] if run else {}
    return [(stage, css, seconds[stage]) for stage, css in zip(STAGES, _STAGE_COLOURS, strict=True) if stage in seconds]


def _fields(report: dict) -> list[tuple[str, int, int, float]]:
    """(kind of field, annotated, fallen back, share) of every kind, most frequent first."""
    found = [(name, count, report["fallback"].get(name, 0)) for name, count in report["fields"].items()]
    return sorted(((name, count, fell, fell / count) for name, count, fell in found), key=lambda row: (-row[1], row[0]))


def _speed(run: dict | None) -> Speed | None:
    seconds = sum(run["seconds_by_stage"].values()) if run else 0.0
    if not run or not run["planned_now"] or not seconds:
        return None
    return Speed(seconds, run["bytes_planned"] / 1e6 / seconds, run["tokens_planned"] / seconds)


def length_histogram(lengths: list[int], width: int = 720, height: int = 170) -> Markup | None:
    """Trajectories by their number of tokens, as inline SVG; None without any."""
    if not lengths:
        return None
    edges = nice_ticks(0, max(lengths), 20)
    counts = [sum(low < n <= high for n in lengths) for low, high in pairwise(edges)]
    left, bottom, top = 46, 26, 18
    step, floor = (width - left - 12) / len(counts), height - bottom
    parts = [f'<line class="axis" x1="{left}" x2="{width - 12}" y1="{floor}" y2="{floor}"/>']
    for number, count in enumerate(counts):
        tall = (floor - top) * count / max(counts)
        x = left + number * step
        if count:
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{floor - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}" '
                f'fill="currentColor"><title>{count} of {tick_label(edges[number])} to '
                f"{tick_label(edges[number + 1])} tokens</title></rect>"
            )
            parts.append(
                f'<text class="tick" x="{x + step / 2:.1f}" y="{floor - tall - 4:.1f}" text-anchor="middle">'
                f"{count}</text>"
            )
        if number % max(1, len(counts) // 7) == 0:
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">'
                f"{tick_label(edges[number])}</text>"
            )
    parts.append(f'<text class="tick" x="{width - 12}" y="{floor + 15}" text-anchor="end">tokens</text>')
    label = f"{len(lengths)} trajectories by length"
    return Markup(
        f'<svg class="chart k-scaffold" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )
