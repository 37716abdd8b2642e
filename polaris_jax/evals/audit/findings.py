"""The audit as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from polaris_jax.evals.audit.overlap import COPIED, summarise
from polaris_jax.evals.document import Curve, Document, Lines, Section, Table
from polaris_jax.evals.intervals import bootstrap


def audit_document(records: Mapping[str, Sequence[Mapping[str, Any]]], facts: Mapping[str, Any]) -> Document:
    """Tables of ``model → records of run_audit``, by attack."""
    sections = []
    modes = list(dict.fromkeys(r["mode"] for rows in records.values() for r in rows))
    for mode in modes:
        rows, curves = [], []
        for model, found in records.items():
            mine = [r for r in found if r["mode"] == mode]
            groups = summarise((r["prefix_tokens"], r["prefix"], r["longest"]) for r in mine)["by_prefix_tokens"]
            for given, group in groups.items():
                runs = [r["longest"] for r in mine if r["prefix_tokens"] == int(given)]
                rows.append([model, int(given), group["count"], group["mean_exact_prefix_match_tokens"],
                             group["max_exact_prefix_match_tokens"], bootstrap(runs),
                             group["max_longest_common_substring_tokens"],
                             *(group[f"copied_span_ge_{bound}_frac"] for bound in COPIED)])  # fmt: skip
            curves.append(Curve(model, [(float(given), *_interval(mine, int(given))) for given in groups]))
        table = Table(
            f"Attack: {mode}",
            ["model", "story tokens given", "rows", "common prefix, mean", "max", "longest common run, mean", "max",
             *(f"runs of {bound} and more" for bound in COPIED)], rows)  # fmt: skip
        parts = [table]
        if any(len(curve.points) > 1 for curve in curves):
            parts.append(Lines(f"Longest common run: {mode}", curves, "story tokens given", "tokens in common"))
        sections.append(Section(_TITLES[mode], _TEXTS[mode], parts))
    total = sum(map(len, records.values()))
    return Document("Memorisation audit", f"{total} greedy continuations compared with the training texts, token by "
                    "token.", sections, facts)  # fmt: skip


_TITLES = {"gold_thinking": "Prompt, gold reasoning and the first story tokens", "prompt_only": "The prompt alone"}
_TEXTS = {
    "gold_thinking": "The strongest attack: everything that preceded the story in training, and its beginning.",
    "prompt_only": "What a user could ask: does the training story come out?",
}


def _interval(records: Sequence[Mapping[str, Any]], given: int) -> tuple[float, float, float]:
    found = bootstrap([r["longest"] for r in records if r["prefix_tokens"] == given])
    return found.value, found.low, found.high
