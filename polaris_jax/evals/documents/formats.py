"""Writes a ``Document`` as JSON, Markdown and LaTeX. ``polaris_jax.report`` makes the page from the JSON."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict

from polaris_jax import storage
from polaris_jax.evals.documents.document import Cell, Document, Part, Table
from polaris_jax.evals.intervals import Interval

FILE, MARKDOWN, LATEX = "evaluation.json", "tables.md", "tables.tex"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
}


def write_document(document: Document, out: str | os.PathLike) -> str:
    """Writes ``evaluation.json``, ``tables.md`` and ``tables.tex`` into a folder, local or gs://; returns the first.

    ``polaris_jax.report.write_evaluation(out)`` makes the page from them.
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
    """The document as JSON values. Every part has a ``kind``; a table has ``rows`` (printed text) and ``values``.

    Non-finite numbers are null.
    """
    return storage.finite(
        {
            "format": "polaris-evaluation-1",
            "title": document.title,
            "lead": document.lead,
            "facts": dict(document.facts),
            "sections": [
                {"title": section.title, "text": section.text, "parts": [_part(part) for part in section.parts]}
                for section in document.sections
            ],
        }
    )


def show(cell: Cell) -> str:
    """A cell as text: ``57.4 [55.0, 60.1]``, ``0.072``, ``1,234``, a dash for an unknown value."""
    if isinstance(cell, Interval):
        if math.isclose(cell.low, cell.high) or not math.isfinite(cell.value):
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
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *(line([show(cell) for cell in row]) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
            "",
        ]
    )


def _part(part: Part) -> dict:
    content = asdict(part) | {"kind": part.kind}
    if isinstance(part, Table):
        content["rows"] = [[show(cell) for cell in row] for row in part.rows]
        content["values"] = [
            [cell.to_json() if isinstance(cell, Interval) else cell for cell in row] for row in part.rows
        ]
        content["right"] = _right(part)
    return content


def _right(table: Table) -> list[bool]:
    """Which columns are right-aligned: those that hold only numbers."""
    return [
        any(not isinstance(row[i], str | None) for row in table.rows)
        and all(not isinstance(row[i], str) for row in table.rows)
        for i in range(len(table.columns))
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
