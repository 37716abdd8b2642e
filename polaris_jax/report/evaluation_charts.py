"""The plots of an evaluation, from its JSON: curves with intervals over a shaded range, and bars with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from polaris_jax.report.charts import ChartFrame, nice_ticks, tick_label
from polaris_jax.report.formats import is_number

COLOURS = ("t1", "t3", "t2", "t4", "t5", "t6")
_FRAME = ChartFrame(720, 300, left=52, bottom=34)
_ROW, _LABEL = 26, 190


def colour(index: int) -> str:
    """The style class of the n-th curve."""
    return COLOURS[index % len(COLOURS)]


def lines_chart(part: Mapping[str, Any], frame: ChartFrame = _FRAME) -> Markup | None:
    """Curves of ``(x, y)`` or ``(x, y, low, high)``, with intervals as a faint area. None without any point."""
    curves = [[point for point in curve["points"] if all(map(is_number, point))] for curve in part["curves"]]
    points = [point for curve in curves for point in curve]
    if not points:
        return None
    shade = part.get("shade")
    xs = [point[0] for point in points] + list(shade or ())
    ticks_x, ticks_y = nice_ticks(min(xs), max(xs), 6), nice_ticks(*_span([y for p in points for y in p[1:]]))
    across, down = frame.width - frame.left - frame.right, frame.height - frame.top - frame.bottom

    def x(value: float) -> float:
        return frame.left + across * (value - ticks_x[0]) / (ticks_x[-1] - ticks_x[0])

    def y(value: float) -> float:
        return frame.top + down * (ticks_y[-1] - value) / (ticks_y[-1] - ticks_y[0])

    floor = frame.top + down
    parts = []
    if shade:
        left, right = x(shade[0]), x(shade[1])
        parts.append(f'<rect class="shade" x="{left:.1f}" y="{frame.top}" width="{right - left:.1f}" height="{down}"/>')
        parts.append(
            f'<text class="tick" x="{(left + right) / 2:.1f}" y="{frame.top + 13}" text-anchor="middle">'
            f"{escape(part.get('shade_label') or '')}</text>"
        )
    for tick in ticks_y:
        parts.append(
            f'<line class="grid" x1="{frame.left}" x2="{frame.left + across}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text class="tick" x="{frame.left - 6}" y="{y(tick) + 3.5:.1f}" '
            f'text-anchor="end">{tick_label(tick)}</text>'
        )
    for tick in ticks_x:
        parts.append(
            f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{floor}" y2="{floor + 4}"/>'
            f'<text class="tick" x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">'
            f"{tick_label(tick)}</text>"
        )
    parts.append(f'<line class="axis" x1="{frame.left}" x2="{frame.left + across}" y1="{floor}" y2="{floor}"/>')
    parts.append(
        f'<text class="tick" x="{frame.left + across / 2:.0f}" y="{floor + 31}" text-anchor="middle">'
        f"{escape(part['x_label'])}</text>"
    )
    for index, curve in enumerate(curves):
        parts.append(_curve(curve, colour(index), x, y))
    return _svg(part["title"], frame.width, frame.height, parts)


def bars_chart(part: Mapping[str, Any], width: int = 720) -> Markup | None:
    """Horizontal bars from ``zero``, with a whisker for the interval; None without bars."""
    bars = [(name, value["value"], value["low"], value["high"]) for name, value in part["bars"]]
    bars = [bar for bar in bars if all(map(is_number, bar[1:]))]
    if not bars:
        return None
    ticks = nice_ticks(*_span([part["zero"], *(value for bar in bars for value in bar[1:])]))
    across, height = width - _LABEL - 60, _ROW * len(bars) + 30

    def x(value: float) -> float:
        return _LABEL + across * (value - ticks[0]) / (ticks[-1] - ticks[0])

    floor = _ROW * len(bars) + 6
    parts = [
        f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="0" y2="{floor}"/><text class="tick" '
        f'x="{x(t):.1f}" y="{floor + 15}" text-anchor="middle">{tick_label(t)}</text>'
        for t in ticks
    ]
    for index, (name, value, low, high) in enumerate(bars):
        top, left, right = _ROW * index + 5, *sorted((x(part["zero"]), x(value)))
        middle, label = top + 8, tick_label(round(value, 2))
        parts.append(
            f'<text class="bar-name" x="{_LABEL - 8}" y="{top + 12}" text-anchor="end">'
            f"{escape(_short(name))}</text>"
            f'<rect class="{colour(0)} bar" x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="16"/>'
            f'<path class="whisker" d="M{x(low):.1f} {middle}H{x(high):.1f}M{x(low):.1f} {middle - 4}v8M'
            f'{x(high):.1f} {middle - 4}v8"/>'
            f'<text class="tick" x="{max(x(high), right) + 6:.1f}" y="{top + 12}">{label}</text>'
        )
    return _svg(part["title"], width, height, parts)


def _curve(curve: Sequence[Sequence[float]], css: str, x, y) -> str:
    if not curve:
        return ""
    path = "L".join(f"{x(p[0]):.1f} {y(p[1]):.1f}" for p in curve)
    dots = "".join(f'<circle class="{css}" cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="3"/>' for p in curve)
    area = ""
    if len(curve) > 1 and all(len(p) == 4 for p in curve):
        edge = [f"{x(p[0]):.1f} {y(p[3]):.1f}" for p in curve]
        edge += [f"{x(p[0]):.1f} {y(p[2]):.1f}" for p in reversed(curve)]
        area = f'<path class="{css} area" d="M{"L".join(edge)}Z"/>'
    elif len(curve[0]) == 4:
        p = curve[0]
        area = f'<path class="{css}" d="M{x(p[0]):.1f} {y(p[2]):.1f}V{y(p[3]):.1f}"/>'
    return f'{area}<path class="{css} mean" d="M{path}"/>{dots}'


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
