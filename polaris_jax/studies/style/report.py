"""The report of the style study: effects, groups, classifier, over-used phrases, and dropped measures."""

from collections.abc import Mapping
from typing import Any

from polaris_jax.evals.documents.document import BarChart, Cell, Document, DocumentSection, Table
from polaris_jax.evals.intervals import Interval
from polaris_jax.studies.style.measures import DROPPED

_NOTE = (
    "Effects are Cliff's delta of the group over the human novels (-1 to 1; 0: no difference; below 0.147 in "
    "size: negligible), 95 % cluster-bootstrap intervals. * : separates, its family-wise interval excludes 0. "
    "Shift: how much nearer to the novels the second group is than the first; above 0 is nearer."
)


def style_document(comparison: Mapping, facts: Mapping[str, Any]) -> Document:
    """Tables and charts of ``compare_styles``'s record."""
    names, rows = [group["name"] for group in comparison["groups"][1:]], comparison["rows"]
    sections = [
        DocumentSection("Distance from human prose", _NOTE, [_effects(rows, names), *_bars(rows, names)]),
        DocumentSection("Groups", "", [_groups(comparison["groups"])]),
        DocumentSection(
            "Human or generated?",
            "A classifier trained on some authors and stories and tested on others; 0.5 is chance. "
            "`form` sees function words and punctuation only.",
            [_classifier(comparison)],
        ),
        DocumentSection(
            "Over-used phrases",
            "Weighted log-odds over passages against the human baseline.",
            [_phrases(name, comparison["overused"][name]) for name in names],
        ),
    ]
    if DROPPED:
        sections.append(
            DocumentSection(
                "Dropped measures",
                "They did not pass validation and are not reported.",
                [Table("Dropped", ("measure", "why"), list(DROPPED.items()))],
            )
        )
    return Document(
        "Literary-shift study",
        f"{' and '.join(names)} against human novels.",
        sections,
        {**facts, **comparison["settings"]},
    )


def effect(contrast: Mapping) -> Interval | None:
    """A contrast's delta as an interval; None where a group has no values."""
    if contrast["delta"] is None:
        return None
    return Interval(contrast["delta"], contrast["low"], contrast["high"])


def _effects(rows: list[dict], names: list[str]) -> Table:
    columns = ["measure", "unit", "assistant", "human"]
    for name in names:
        columns += [name, f"{name}: effect", ""]
    columns += [f"shift {names[0]} → {names[1]}"] if len(names) > 1 else []
    lines = []
    for row in rows:
        line: list[Cell] = [
            row["measure"],
            row["unit"],
            {1: "higher", -1: "lower", 0: ""}[row["expected"]],
            row["human"],
        ]
        for name in names:
            found = row["groups"][name]
            line += [found["mean_a"], effect(found), "*" if found["separates"] else ""]
        if len(names) > 1:
            moved = row["shift"]
            line.append(None if moved is None else Interval(moved["value"], moved["low"], moved["high"]))
        lines.append(line)
    return Table("Effects", columns, lines, _NOTE)


def _bars(rows: list[dict], names: list[str]) -> list[BarChart]:
    found = []
    for name in names:
        bars = [(row["measure"], interval) for row in rows if (interval := effect(row["groups"][name])) is not None]
        found.append(BarChart(f"{name}: Cliff's delta over human novels", bars))
    return found


def _groups(groups: list[dict]) -> Table:
    columns = ("name", "authors", "stories", "finished", "passages", "words")
    return Table(
        "Groups",
        columns,
        [[group[name] for name in columns] for group in groups],
        "Every generation counts as a separate author.",
    )


def _classifier(comparison: Mapping) -> Table:
    rows = [
        (one["group"], one["view"], Interval(one["value"], one["low"], one["high"]), one["passages"], one["folds"])
        for one in comparison["classifier"]
    ]
    return Table("Balanced accuracy on held-out authors", ("group", "view", "accuracy", "passages", "folds"), rows)


def _phrases(name: str, phrases: list[dict]) -> Table:
    rows = [(one["phrase"], one["z"], one["share"], one["baseline"]) for one in phrases]
    return Table(f"Over-used by {name}", ("phrase", "z", "share of passages", "in novels"), rows)
