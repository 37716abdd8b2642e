"""``Document``: the results of a study as data, tables and charts under headings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from polaris_jax.evals.intervals import Interval

Cell = str | int | float | Interval | None


@dataclass(frozen=True)
class Table:
    """Rows under column names; cells are text, numbers (three significant decimals), intervals, or None (a dash)."""

    kind: ClassVar[str] = "table"  # names the type of the part in the JSON
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """One line of a chart: points ``(x, y)``, or ``(x, y, low, high)`` with an interval."""

    name: str
    points: Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class LineChart:
    """Curves over a common x-axis; ``shade`` is a highlighted range of it, labelled ``shade_label``."""

    kind: ClassVar[str] = "lines"
    title: str
    curves: Sequence[Curve]
    x_label: str
    y_label: str
    shade: tuple[float, float] | None = None
    shade_label: str = ""
    note: str = ""


@dataclass(frozen=True)
class BarChart:
    """One bar per name with its interval; bars begin at ``zero``."""

    kind: ClassVar[str] = "bars"
    title: str
    bars: Sequence[tuple[str, Interval]]
    zero: float = 0.0
    note: str = ""


Part = Table | LineChart | BarChart


@dataclass(frozen=True)
class DocumentSection:
    """A heading, a paragraph, and the parts under it."""

    title: str
    text: str = ""
    parts: Sequence[Part] = ()


@dataclass(frozen=True)
class Document:
    """The results of a study. ``facts`` are pairs of name and value: judges, costs, versions, warnings."""

    title: str
    lead: str
    sections: Sequence[DocumentSection]
    facts: Mapping[str, Any] = field(default_factory=dict)
