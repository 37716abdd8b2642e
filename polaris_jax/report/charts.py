"""Line charts as inline SVG. Colours come from the page's style sheet, so a chart follows light and dark mode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from polaris_jax.report.curves import moving_average

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One curve; ``css`` is the style sheet's class for its colour (``k-prose``, ``r-book_plan``)."""

    name: str
    css: str
    curve: Points


@dataclass(frozen=True)
class ChartFrame:
    """Size of a chart and its margins, in SVG units."""

    width: int
    height: int
    left: int = 46
    right: int = 12
    top: int = 10
    bottom: int = 26


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span ``[low, high]``: multiples of 1, 2 or 5 times a power of ten, at most ``most + 1``."""
    if not high > low:
        low, high = low - max(abs(low), 1.0) * 0.05, high + max(abs(high), 1.0) * 0.05
    raw = (high - low) / most
    base = 10 ** math.floor(math.log10(raw))
    step = next(factor * base for factor in (1, 2, 5, 10) if factor * base >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def tick_label(value: float) -> str:
    """The shortest exact form: ``0``, ``2.5``, ``12k``, ``2e−05``."""
    if value and abs(value) < 1e-3:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("-", "−")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}".replace("-", "−")


def line_chart(
    series: Sequence[Series],
    label: str,
    *,
    frame: ChartFrame = ChartFrame(720, 280),
    x_label: str = "step",
    limits: tuple[float, float] | None = None,
    smooth: bool = True,
) -> Markup:
    """Curves over steps: faint raw values, with their moving average on top.

    Args:
      series: at least one, each with at least one point.
      label: text for screen readers.
      limits: range that the vertical axis covers at least, to draw several charts on one scale.
      smooth: draw the moving average (over an eighth of the curve); otherwise only the values.
    """
    xs = [x for one in series for x, _ in one.curve]
    ys = [y for one in series for _, y in one.curve]
    if limits:
        ys = [*ys, *limits]
    most = 5 if frame.height > 150 else 3
    ticks = nice_ticks(min(ys), max(ys), most)
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_low, y_high = ticks[0], ticks[-1]
    across, down = frame.width - frame.left - frame.right, frame.height - frame.top - frame.bottom

    def place(point):
        x = frame.left + across * (point[0] - x_low) / (x_high - x_low)
        y = frame.top + down * (y_high - point[1]) / (y_high - y_low)
        return x, y

    floor = frame.top + down
    parts = []
    for tick in ticks:
        y = place((x_low, tick))[1]
        parts.append(f'<line class="grid" x1="{frame.left}" x2="{frame.left + across}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{frame.left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick_label(tick)}</text>'
        )
    for tick in _step_ticks(x_low, x_high, 6 if across > 300 else 3):
        x = place((tick, y_low))[0]
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{tick_label(tick)}</text>')
    parts.append(f'<line class="axis" x1="{frame.left}" x2="{frame.left + across}" y1="{floor}" y2="{floor}"/>')
    parts.append(
        f'<text class="tick" x="{frame.left + across}" y="{floor + 15}" text-anchor="end">{escape(x_label)}</text>'
    )
    for one in series:
        css = escape(one.css)
        parts.append(_path(map(place, one.curve), f"{css} raw" if smooth else f"{css} mean"))
        if smooth:
            parts.append(_path(map(place, moving_average(one.curve, max(3, len(one.curve) // 8))), f"{css} mean"))
        if len(one.curve) == 1:
            x, y = place(one.curve[0])
            parts.append(f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return Markup(
        f'<svg class="chart" viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{''.join(parts)}</svg>"
    )


def _step_ticks(low: float, high: float, most: int) -> list[float]:
    """Whole steps, without one at the far right, where the axis label is."""
    end = high - (high - low) / 16
    return [tick for tick in nice_ticks(low, high, most) if tick == round(tick) and low <= tick < end]


def _path(places, css: str) -> str:
    return f'<path class="{css}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>'
