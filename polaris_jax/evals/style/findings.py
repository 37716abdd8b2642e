"""What the style study found, as a document: one table of effects, bars, phrases, and what was dropped."""

from collections.abc import Mapping
from typing import Any

from polaris_jax.evals.document import Bars, Document, Section, Table
from polaris_jax.evals.intervals import Interval
from polaris_jax.evals.style.measures import DROPPED

_NOTE = ("Effects are Cliff's delta of the group over the human novels (-1 to 1; 0: no difference; below 0.147 in "
         "size: negligible), 95 % cluster-bootstrap intervals. * : separates, its family-wise interval leaves 0 out. "
         "Shift: how much nearer to the novels the second group is than the first; above 0 is nearer.")  # fmt: skip


def style_document(study: Mapping, facts: Mapping[str, Any]) -> Document:
    """Tables and bars of ``run_study``'s record."""
    names = [group["name"] for group in study["groups"][1:]]
    sections = [
        Section("Distance from human prose", _NOTE, [_effects(study["rows"], names), *_bars(study["rows"], names)]),
        Section("Groups", "", [_groups(study["groups"])]),
        Section("Human or generated?", "A classifier trained on some authors and stories and tried on others; 0.5 "
                "means that it cannot tell. `form` sees function words and punctuation only.", [_classifier(study)]),
        Section("Over-used phrases", "Weighted log-odds over passages against the human baseline.",
                [_phrases(name, study["overused"][name]) for name in names]),
    ]  # fmt: skip
    if DROPPED:
        sections.append(Section("Dropped measures", "They did not pass validation and are not reported.", [
            Table("Dropped", ("measure", "why"), list(DROPPED.items()))]))
    return Document("Literary-shift study", f"{' and '.join(names)} against human novels.", sections,
                    {**facts, **study["settings"]})  # fmt: skip


def effect(contrast: Mapping) -> Interval | None:
    """A contrast's delta as an interval; None when it could not be made."""
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
        line: list = [row["measure"], row["unit"], {1: "higher", -1: "lower", 0: ""}[row["expected"]], row["human"]]
        for name in names:
            found = row["groups"][name]
            line += [found["mean_a"], effect(found), "*" if found["separates"] else ""]
        if len(names) > 1:
            moved = row["shift"]
            line.append(None if moved is None else Interval(moved["value"], moved["low"], moved["high"]))
        lines.append(line)
    return Table("Effects", columns, lines, _NOTE)


def _bars(rows: list[dict], names: list[str]) -> list[Bars]:
    found = []
    for name in names:
        bars = [(row["measure"], effect(row["groups"][name])) for row in rows]
        found.append(Bars(f"{name}: Cliff's delta over human novels", [bar for bar in bars if bar[1] is not None]))
    return found


def _groups(groups: list[dict]) -> Table:
    columns = ("name", "authors", "stories", "finished", "passages", "words")
    return Table("Groups", columns, [[group[name] for name in columns] for group in groups],
                 "Every generation counts as an author of its own.")  # fmt: skip


def _classifier(study: Mapping) -> Table:
    rows = [(one["group"], one["view"], Interval(one["value"], one["low"], one["high"]), one["passages"], one["folds"])
            for one in study["classifier"]]  # fmt: skip
    return Table("Balanced accuracy on held-out authors", ("group", "view", "accuracy", "passages", "folds"), rows)


def _phrases(name: str, phrases: list[dict]) -> Table:
    rows = [(one["phrase"], one["z"], one["share"], one["baseline"]) for one in phrases]
    return Table(f"Over-used by {name}", ("phrase", "z", "share of passages", "in novels"), rows)
