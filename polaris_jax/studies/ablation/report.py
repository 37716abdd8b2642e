"""The report of an ablation: held-out loss per role, and repetition in free-running text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polaris_jax.evals.documents.document import BarChart, Cell, Document, DocumentSection, Part, Table
from polaris_jax.evals.intervals import Interval, bootstrap


def ablation_document(results: Sequence[Mapping], facts: Mapping[str, Any], seed: int = 0) -> Document:
    """Tables and charts of ``run_ablation``'s results; an arm is one run of the sweep."""
    main = Table(
        "Arms",
        (
            "arm",
            "form",
            "steps",
            "tokens",
            "epochs",
            "train prose",
            "held-out prose, own form",
            "held-out prose, plain form",
            "distinct-4",
            "repeated 12-grams",
            "loops",
            "loop position",
        ),
        [_row(one, seed) for one in results],
        "Losses are nats per token on held-out authors, 95 % bootstrap intervals over batches. "
        "Own form: in the context that the arm was trained with, so contexts differ between forms; plain form: prompt "
        "and prose only, the same tokens and context for all. Repetition: greedy continuations of equal length.",
    )
    roles = list(dict.fromkeys(role for one in results for role in one["held_out"]["own"]["roles"]))
    by_role = Table(
        "Held-out loss per stage role",
        ("arm", *roles),
        [(one["arm"]["name"], *(one["held_out"]["own"]["roles"].get(role) for role in roles)) for one in results],
        "Nats per token, each arm in its own form.",
    )
    bars = BarChart(
        "Held-out prose, plain form (nats per token)",
        [(one["arm"]["name"], prose_loss(one, "plain", seed)) for one in results],
    )
    lead = f"{len(results)} arms; every one starts from the same weights."
    differences = [_differences(results[0], results[1:], seed)] if len(results) > 1 else []
    parts: list[Part] = [main, *differences, bars]
    sections = [DocumentSection("Result", "", parts), DocumentSection("Roles", "", [by_role])]
    return Document("Ablation", lead, sections, facts)


def prose_loss(result: Mapping, form: str, seed: int = 0) -> Interval:
    """Held-out prose loss of an arm, with its interval over batches."""
    rows = np.array([row for row in result["held_out"][form]["prose_by_batch"] if row[1] > 0], float).reshape(-1, 2)
    if not len(rows):
        return Interval(float("nan"), float("nan"), float("nan"))
    return _per_token(rows, seed)


def prose_difference(result: Mapping, other: Mapping, seed: int = 0) -> Interval | None:
    """Held-out prose loss in plain form minus that of ``other``, with its paired interval over batches.

    The difficulty of a batch cancels in the difference, so that its interval is narrower than that of either loss. None
    unless both arms were measured on the same batches.
    """
    mine, theirs = (
        np.array(one["held_out"]["plain"]["prose_by_batch"], float).reshape(-1, 2) for one in (result, other)
    )
    if not len(mine) or not np.array_equal(mine[:, 1], theirs[:, 1]):
        return None
    rows = np.stack([mine[:, 0] - theirs[:, 0], mine[:, 1]], axis=1)[mine[:, 1] > 0]
    return _per_token(rows, seed) if len(rows) else None


def _per_token(rows: np.ndarray, seed: int) -> Interval:
    """Mean nats per token; ``rows [n, 2]`` are summed nats and tokens per batch."""
    return bootstrap(rows, lambda some: some[:, 0].sum() / some[:, 1].sum(), seed=seed)


def _differences(first: Mapping, others: Sequence[Mapping], seed: int) -> Table:
    """Every other arm minus the first."""
    runs = {run["document"]: run for run in first["free_runs"]}

    def repetition(one: Mapping, name: str) -> Interval | None:
        pairs = [run[name] - runs[run["document"]][name] for run in one["free_runs"] if run["document"] in runs]
        return bootstrap(pairs, seed=seed) if pairs else None

    names = {"distinct-4": "distinct_4", "repeated 12-grams": "repeated_12", "loop position": "loop_at"}
    return Table(
        f"Difference to {first['arm']['name']}",
        ("arm", "held-out prose, plain form", *names),
        [
            (
                one["arm"]["name"],
                prose_difference(one, first, seed),
                *(repetition(one, name) for name in names.values()),
            )
            for one in others
        ],
        "Paired: the same batches, and continuations of the same held-out texts; 95 % bootstrap intervals.",
    )


def _row(one: Mapping, seed: int) -> tuple[Cell, ...]:
    runs = one["free_runs"]

    def mean(name: str) -> Interval | None:
        return bootstrap([run[name] for run in runs], seed=seed) if runs else None

    loops = f"{sum(run['loop_at'] < 1 for run in runs)} of {len(runs)}"
    return (
        one["arm"]["name"],
        one["arm"]["variant"],
        one["steps"],
        one["tokens"],
        round(one["epochs"], 2),
        one["train_prose_loss"],
        prose_loss(one, "own", seed),
        prose_loss(one, "plain", seed),
        mean("distinct_4"),
        mean("repeated_12"),
        loops,
        mean("loop_at"),
    )
