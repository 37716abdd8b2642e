"""The report of a memorisation audit."""

from collections.abc import Mapping, Sequence
from typing import Any

from polaris_jax.evals.documents.document import Cell, Curve, Document, DocumentSection, LineChart, Part, Table
from polaris_jax.evals.intervals import bootstrap
from polaris_jax.studies.memorisation.overlap import COPIED, summarise


def audit_document(records: Mapping[str, Sequence[Mapping[str, Any]]], facts: Mapping[str, Any]) -> Document:
    """Tables and charts of ``model → records of run_audit``, by attack."""
    sections = []
    modes = list(dict.fromkeys(r["mode"] for rows in records.values() for r in rows))
    for mode in modes:
        rows: list[list[Cell]] = []
        curves = []
        for model, found in records.items():
            mine = [r for r in found if r["mode"] == mode]
            groups = summarise((r["prefix_tokens"], r["prefix"], r["longest"]) for r in mine)["by_prefix_tokens"]
            for given, group in groups.items():
                runs = [r["longest"] for r in mine if r["prefix_tokens"] == int(given)]
                rows.append(
                    [
                        model,
                        int(given),
                        group["count"],
                        group["mean_exact_prefix_match_tokens"],
                        group["max_exact_prefix_match_tokens"],
                        bootstrap(runs),
                        group["max_longest_common_substring_tokens"],
                        *(group[f"copied_span_ge_{bound}_frac"] for bound in COPIED),
                    ]
                )
            curves.append(Curve(model, [(float(given), *_interval(mine, int(given))) for given in groups]))
        table = Table(
            f"Attack: {mode}",
            [
                "model",
                "story tokens given",
                "rows",
                "common prefix, mean",
                "max",
                "longest common run, mean",
                "max",
                *(f"runs of {bound} and more" for bound in COPIED),
            ],
            rows,
        )
        parts: list[Part] = [table]
        if any(len(curve.points) > 1 for curve in curves):
            parts.append(LineChart(f"Longest common run: {mode}", curves, "story tokens given", "tokens in common"))
        sections.append(DocumentSection(_TITLES[mode], _TEXTS[mode], parts))
    total = sum(map(len, records.values()))
    return Document(
        "Memorisation audit",
        f"{total} greedy continuations compared with the training texts, token by token.",
        sections,
        facts,
    )


_TITLES = {"gold_thinking": "Prompt, gold reasoning and the first story tokens", "prompt_only": "The prompt alone"}
_TEXTS = {
    "gold_thinking": "The strongest attack: everything that preceded the story in training, and its beginning.",
    "prompt_only": "What a user could ask: does the training story come out?",
}


def _interval(records: Sequence[Mapping[str, Any]], given: int) -> tuple[float, float, float]:
    found = bootstrap([r["longest"] for r in records if r["prefix_tokens"] == given])
    return found.value, found.low, found.high
