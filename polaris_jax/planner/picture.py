"""A verdict as one self-contained HTML page: the memory bar, and memory over the step as the compiler schedules it."""

import html
import os

from polaris_jax import storage
from polaris_jax.planner.verdict import PlanVerdict

_COLOURS = {
    "parameters": "#4269d0",
    "optimizer": "#97bbf5",
    "gradients": "#ff725c",
    "saved_activations": "#3ca951",
    "workspace": "#efb118",
}
_WIDE, _HIGH = 960, 280
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.3em}h2{font-size:1.05em;margin:1.6em 0 .4em}table{border-collapse:collapse}td,th{padding:.15em .8em;
text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}.key{display:inline-block;width:.8em;height:.8em;
margin:0 .3em 0 1em}svg{width:100%;height:auto}.no{color:#c0392b}.yes{color:#1e8449}"""


def write_picture(verdict: PlanVerdict, path: str | os.PathLike) -> None:
    """Writes the page atomically."""
    storage.write(os.fspath(path), page(verdict).encode())


def page(v: PlanVerdict) -> str:
    """The page as a string."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in v.mesh.items())
    title = f"{v.topology}: {v.batch_size} × {v.window:,} tokens"
    lines = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p><b class={'yes' if v.fits else 'no'}>{'fits' if v.fits else 'does not fit'}</b>: "
        f"{v.hbm_gib_per_chip:.2f} of {v.hbm_limit_gib:.2f} GiB per chip ({v.source}); mesh {html.escape(mesh)}.</p>",
    ]
    if v.suggestion:
        lines.append(f"<p>The smallest change that fits: <code>{html.escape(v.suggestion)}</code></p>")
    lines += ["<h2>At the peak</h2>", _bar(v)]
    if v.timeline:
        lines += ["<h2>Over the step, in the order of the compiler's schedule (loop bodies drawn once)</h2>", _curve(v)]
    lines += ["<h2>Time</h2>", _terms(v), "<h2>Communication per device and step</h2>", _traffic(v), "</html>"]
    return "\n".join(lines)


def _bar(v: PlanVerdict) -> str:
    scale, x, shapes = _WIDE / max(v.hbm_limit_gib, v.hbm_gib_per_chip), 0.0, []
    for name, colour in _COLOURS.items():
        width = v.parts.get(name, 0.0) * scale
        shapes.append(
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="40" fill="{colour}">'
            f"<title>{name.replace('_', ' ')}: {v.parts.get(name, 0.0):.2f} GiB</title></rect>"
        )
        x += width
    limit = v.hbm_limit_gib * scale
    shapes.append(f'<line x1="{limit:.1f}" x2="{limit:.1f}" y1="-4" y2="44" stroke="#c0392b" stroke-width="3"/>')
    key = "".join(
        f'<span class=key style="background:{colour}"></span>{name.replace("_", " ")} {v.parts[name]:.2f}'
        for name, colour in _COLOURS.items()
        if v.parts.get(name)
    )
    host = f" · host memory {v.host_gib_per_chip:.2f}" if v.host_gib_per_chip else ""
    return f'<svg viewBox="0 -6 {_WIDE + 4} 54">{"".join(shapes)}</svg><p>{key}{host} GiB</p>'


def _curve(v: PlanVerdict) -> str:
    """Stacked areas: the state, which stays, then the temporaries."""
    state = {name: v.parts[name] for name in ("parameters", "optimizer")}
    last = v.timeline[-1][0] or 1
    top = max(v.hbm_limit_gib, v.hbm_gib_per_chip)
    floor, areas = [0.0] * len(v.timeline), []
    for name, colour in _COLOURS.items():
        heights = [state.get(name, moment_parts.get(name, 0.0)) for _, moment_parts in v.timeline]
        ceiling = [low + height for low, height in zip(floor, heights, strict=True)]
        across = [moment / last * _WIDE for moment, _ in v.timeline]
        outline = list(zip(across, ceiling, strict=True)) + list(zip(across, floor, strict=True))[::-1]
        points = " ".join(f"{x:.1f},{_HIGH * (1 - y / top):.1f}" for x, y in outline)
        areas.append(f'<polygon points="{points}" fill="{colour}"><title>{name.replace("_", " ")}</title></polygon>')
        floor = ceiling
    limit = _HIGH * (1 - v.hbm_limit_gib / top)
    line = f'<line x1="0" x2="{_WIDE}" y1="{limit:.1f}" y2="{limit:.1f}" stroke="#c0392b" stroke-width="2"/>'
    return f'<svg viewBox="0 -2 {_WIDE} {_HIGH + 4}">{"".join(areas)}{line}</svg>'


def _terms(v: PlanVerdict) -> str:
    rows = "".join(f"<tr><td>{name.replace('_', ' ')}<td class=n>{seconds:.2f}" for name, seconds in v.terms.items())
    return (
        f"<table><tr><th>part<th>seconds{rows}<tr><th>step<td class=n><b>{v.step_time_s:.2f}</b></table>"
        f"<p>MFU {v.mfu:.1%} (causal attention at half), {v.tokens_per_s_per_chip:,.0f} tokens/s per chip.</p>"
    )


def _traffic(v: PlanVerdict) -> str:
    rows = "".join(
        f"<tr><td>{row.kind}<td>{row.where}<td class=n>{row.count:,}<td class=n>{row.bytes / 1e9:.2f}"
        f"<td>{row.overlapped_with if row.asynchronous else 'the device waits'}"
        for row in v.collectives
        if row.bytes >= 1e6
    )
    return f"<table><tr><th>kind<th>where<th>times<th>GB<th>meanwhile{rows}</table>"
