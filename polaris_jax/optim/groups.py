"""Assigns every parameter to an optimizer group by path patterns; the first match wins."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from polaris_jax.errors import InputError
from polaris_jax.optim.muon import path_name

GROUPS = ("muon", "adamw", "frozen")


@dataclass(frozen=True)
class GroupRule:
    """``pattern`` is searched in the slash-joined path (``blocks/0/mlp/up``); ``group`` is muon, adamw or frozen."""

    pattern: str
    group: str


# Muon: the stacked matrices of blocks. AdamW: an adapter's factors, embeddings, head, norms, convolutions and other
# vectors.
DEFAULT_RULES = (
    GroupRule(r"/lora_[ab]$", "adamw"),
    GroupRule(r"^blocks/.*/(attention|linear_attention|mlp)/(?!.*(norm|conv|A_log|dt_bias))", "muon"),
    GroupRule(r"", "adamw"),
)

# The second stage of the recipe: self-attention and the gates of the MLP are trained, all else is frozen.
ATTENTION_AND_GATES = (("^blocks/.*/attention/(q|k|v|o)$", "muon"), ("^blocks/.*/mlp/gate$", "muon"), ("", "frozen"))


def label_params(params: Any, rules: Sequence[GroupRule] = DEFAULT_RULES) -> Any:
    """A tree like ``params`` with the group name of every leaf.

    Raises:
      InputError: an unknown group, a path that no rule matches, or a rule that routes a vector to muon.
    """
    for rule in rules:
        if rule.group not in GROUPS:
            raise InputError("optim.groups", rule.group, f"groups are {', '.join(GROUPS)}")

    def label(path, leaf):
        name = path_name(path)
        for rule in rules:
            if re.search(rule.pattern, name):
                # A stack of vectors ([layers, width]) has two axes, but is not a matrix.
                stacked = name.startswith("blocks/")
                if rule.group == "muon" and leaf.ndim < (3 if stacked else 2):
                    return "adamw"
                return rule.group
        raise InputError("optim.groups", name, "no rule matches this parameter; end the list with pattern ''")

    return jax.tree_util.tree_map_with_path(label, params)


def group_table(params: Any, labels: Any) -> list[tuple[str, int, int]]:
    """Rows ``(group, arrays, parameters)`` for the table printed at the start of a run."""
    rows: dict[str, tuple[int, int]] = {}
    for leaf, group in zip(jax.tree.leaves(params), jax.tree.leaves(labels), strict=True):
        arrays, count = rows.get(group, (0, 0))
        rows[group] = arrays + 1, count + leaf.size
    return [(group, *rows[group]) for group in GROUPS if group in rows]
