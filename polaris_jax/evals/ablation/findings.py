"""What an ablation found, as a document with one table: loss per role on unseen authors, and repetition."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polaris_jax.evals.document import Bars, Document, Section, Table
from polaris_jax.evals.intervals import Interval, bootstrap


def ablation_document(results: Sequence[Mapping], facts: Mapping[str, Any], seed: int = 0) -> Document:
    """Tables and bars of ``run_ablation``'s results."""
    main = Table(
        "Arms", ("arm", "form", "steps", "tokens", "epochs", "train prose", "held-out prose, own form",
                 "held-out prose, plain form", "distinct-4", "repeated 12-grams", "loops", "loop position"),
        [_row(one, seed) for one in results],
        "Losses are nats per token on authors that were not trained on, 95 % bootstrap intervals over batches. "
        "Own form: in the context that the arm was trained with, so contexts differ between forms; plain form: prompt "
        "and prose only, the same tokens and context for all. Repetition: greedy continuations of equal length.",
    )  # fmt: skip
    roles = list(dict.fromkeys(role for one in results for role in one["held_out"]["own"]["roles"]))
    by_role = Table("Held-out loss per stage role", ("arm", *roles),
                    [(one["arm"]["name"], *(one["held_out"]["own"]["roles"].get(role) for role in roles))
                     for one in results], "Nats per token, each arm in its own form.")  # fmt: skip
    bars = Bars("Held-out prose, plain form (nats per token)",
                [(one["arm"]["name"], prose_loss(one, "plain", seed)) for one in results])  # fmt: skip
    lead = f"{len(results)} arms; every one starts from the same weights."
    return Document("Ablation", lead, [Section("Result", "", [main, bars]), Section("Roles", "", [by_role])], facts)


def prose_loss(result: Mapping, form: str, seed: int = 0) -> Interval:
    """Held-out prose loss of an arm, with its interval over batches."""
    rows = np.array([row for row in result["held_out"][form]["prose_by_batch"] if row[1] > 0], float).reshape(-1, 2)
    if not len(rows):
        return Interval(float("nan"), float("nan"), float("nan"))
    return bootstrap(rows, lambda some: some[:, 0].sum() / some[:, 1].sum(), seed=seed)


def _row(one: Mapping, seed: int) -> tuple:
    runs = one["free_runs"]

    def mean(name: str) -> Interval | None:
        return bootstrap([run[name] for run in runs], seed=seed) if runs else None

    loops = f"{sum(run['loop_at'] < 1 for run in runs)} of {len(runs)}"
    return (one["arm"]["name"], one["arm"]["variant"], one["steps"], one["tokens"], round(one["epochs"], 2),
            one["train_prose_loss"], prose_loss(one, "own", seed), prose_loss(one, "plain", seed),
            mean("distinct_4"), mean("repeated_12"), loops, mean("loop_at"))  # fmt: skip
