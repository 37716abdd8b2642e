"""What a study found, as data: tables and plots under headings, from which page, Markdown, LaTeX and JSON are made."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from polaris_jax import storage
from polaris_jax.evals.intervals import Interval

FILE, MARKDOWN, LATEX = "evaluation.json", "tables.md", "tables.tex"
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--"}  # fmt: skip

Cell = str | int | float | Interval | None


@dataclass(frozen=True)
class Table:
    """Rows under column names; cells are text, numbers (three significant decimals), intervals, or None (a dash)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """One line: points ``(x, y)``, or ``(x, y, low, high)`` with an interval."""

    name: str
    points: Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class Lines:
    """Curves over a common axis; ``shade`` is a stretch of it that is set off, and ``shade_label`` says as what."""

    title: str
    curves: Sequence[Curve]
    x_label: str
    y_label: str
    shade: tuple[float, float] | None = None
    shade_label: str = ""
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """One bar per name with its interval; ``zero`` is where bars begin."""

    title: str
    bars: Sequence[tuple[str, Interval]]
    zero: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and what stands under it."""

    title: str
    text: str = ""
    parts: Sequence[Table | Lines | Bars] = ()


@dataclass(frozen=True)
class Document:
    """A study. ``facts`` are name and value pairs: judges, costs, versions, warnings."""

    title: str
    lead: str
    sections: Sequence[Section]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_document(document: Document, out: str | os.PathLike) -> str:
    """Writes ``evaluation.json``, ``tables.md`` and ``tables.tex`` into a folder, local or gs://; returns the first.

    ``polaris_jax.report.write_evaluation(out)`` makes the page of them.
    """
    folder = os.fspath(out)
    tables = [part for section in document.sections for part in section.parts if isinstance(part, Table)]
    contents = {
        MARKDOWN: f"# {document.title}\n\n" + "\n".join(map(markdown, tables)),
        LATEX: "% needs \\usepackage{booktabs}\n" + "\n".join(map(latex, tables)),
        FILE: json.dumps(to_json(document), ensure_ascii=False, indent=1) + "\n",
    }
    for name, text in contents.items():
        storage.write(storage.join(folder, name), text.encode())
    return storage.join(folder, FILE)


def to_json(document: Document) -> dict:
    """JSON values: every part carries its ``kind``; cells and intervals carry the text that tables print."""
    return {
        "format": "polaris-evaluation-1",
        "title": document.title,
        "lead": document.lead,
        "facts": dict(document.facts),
        "sections": [
            {"title": section.title, "text": section.text, "parts": [_part(part) for part in section.parts]}
            for section in document.sections
        ],
    }


def show(cell: Cell) -> str:
    """A cell as text: ``57.4 [55.0, 60.1]``, ``0.072``, ``1,234``, a dash for what is not known."""
    if isinstance(cell, Interval):
        if math.isclose(cell.low, cell.high):
            return show(cell.value)
        return f"{show(cell.value)} [{show(cell.low)}, {show(cell.high)}]"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}".replace("-", "−")
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "–"
        digits = 1 if abs(cell) >= 10 else 2 if abs(cell) >= 1 else 3
        return f"{cell:,.{digits}f}".replace("-", "−")
    return "–" if cell is None else cell


def markdown(table: Table) -> str:
    """A table in GitHub's Markdown, title above and note below."""
    right = _right(table)
    lines = [
        f"**{table.title}**\n",
        _row(table.columns),
        "|" + "|".join("---:" if one else "---" for one in right) + "|",
        *(_row([show(cell) for cell in row]) for row in table.rows),
    ]
    return "\n".join(lines) + (f"\n\n{table.note}\n" if table.note else "\n")


def latex(table: Table) -> str:
    """A table with booktabs rules, ready to paste."""
    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escape(cell) for cell in cells) + r" \\"

    caption = _escape(table.title + (f". {table.note}" if table.note else ""))
    columns = "".join("r" if one else "l" for one in _right(table))
    return "\n".join([
        r"\begin{table}[t]", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(table.columns),
        r"\midrule", *(line([show(cell) for cell in row]) for row in table.rows), r"\bottomrule", r"\end{tabular}",
        rf"\caption{{{caption}}}", r"\end{table}", "",
    ])  # fmt: skip


def _part(part: Table | Lines | Bars) -> dict:
    content = asdict(part) | {"kind": type(part).__name__.lower()}
    if isinstance(part, Table):
        content["rows"] = [[show(cell) for cell in row] for row in part.rows]
        content["values"] = [[cell.to_json() if isinstance(cell, Interval) else _finite(cell) for cell in row]
                             for row in part.rows]  # fmt: skip
        content["right"] = _right(part)
    return content


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _right(table: Table) -> list[bool]:
    """Which columns hold numbers only."""
    return [
        any(not isinstance(row[i], str | None) for row in table.rows)
        and all(not isinstance(row[i], str) for row in table.rows)
        for i in range(len(table.columns))
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
