"""Draws the hops of ``life_of_a_batch.md`` and ``life_of_a_book.md`` as SVG beside them.

    python docs/draw_lives.py

The pages' numbered lists are the only source: ``tests/test_life_pages.py`` fails when a drawing is not made from its
page, or when a hop's file has no such name.
"""

import re
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent
PAGES = ("life_of_a_batch", "life_of_a_book")
HOP = re.compile(r"^(\d+)\. \*\*\[(.+?)\]\((.+?)\)\*\* `(\w+)` → \*(.+?)\*\.", re.M | re.S)
COLUMNS, WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 3, 250, 86, 34, 26, 16
FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True)
class Hop:
    """One hop: its number and title, the file and the name in it, and what leaves it."""

    number: int
    title: str
    file: str
    name: str
    gives: str


def hops(text: str) -> list[Hop]:
    """The hops of a page, in order."""
    return [Hop(int(number), *rest[:3], " ".join(rest[3].split())) for number, *rest in HOP.findall(text)]


def draw(found: list[Hop]) -> str:
    """The page's drawing: boxes row by row, left to right and back, joined by arrows."""
    rows = -(-len(found) // COLUMNS)
    size = (2 * MARGIN + COLUMNS * (WIDTH + GAP_X) - GAP_X, 2 * MARGIN + rows * (HEIGHT + GAP_Y) - GAP_Y)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {size[0]} {size[1]}' width='{size[0]}' role='img'>",
        "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        "<path d='M0 0 8 4 0 8Z' fill='#3f51b5'/></marker></defs>",
        f"<rect width='{size[0]}' height='{size[1]}' fill='#ffffff'/>",
    ]
    corners = [_corner(n) for n in range(len(found))]
    for (x, y), (to_x, to_y) in pairwise(corners):
        if y == to_y:
            right = to_x > x
            start, end = (x + WIDTH if right else x, y + HEIGHT / 2), (to_x if right else to_x + WIDTH, y + HEIGHT / 2)
        else:
            start, end = (x + WIDTH / 2, y + HEIGHT), (x + WIDTH / 2, to_y)
        parts.append(
            f"<line x1='{start[0]:g}' y1='{start[1]:g}' x2='{end[0]:g}' y2='{end[1]:g}' "
            "stroke='#3f51b5' stroke-width='2' marker-end='url(#tip)'/>"
        )
    for hop, (x, y) in zip(found, corners, strict=True):
        parts.append(
            f"<rect x='{x}' y='{y}' width='{WIDTH}' height='{HEIGHT}' rx='6' fill='#eef0fa' stroke='#3f51b5'/>"
        )
        lines = [(f"{hop.number}. {hop.title}", 15, "#1a237e", 600), (f"{hop.name}", 12, "#424242", 400)]
        lines += [(line, 12, "#212121", 400) for line in _wrapped(hop.gives)]
        height = y + 5
        for text, points, colour, weight in lines:
            height += points + 4
            parts.append(
                f"<text x='{x + 10}' y='{height}' {FONT} font-size='{points}' font-weight='{weight}' "
                f"fill='{colour}'>{escape(text)}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


def _corner(number: int) -> tuple[int, int]:
    row, column = divmod(number, COLUMNS)
    column = column if row % 2 == 0 else COLUMNS - 1 - column  # back again on every other row
    return MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def _wrapped(text: str, most: int = 38) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= most and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        (DOCS / f"{page}.svg").write_text(draw(hops(text)), encoding="utf-8")
