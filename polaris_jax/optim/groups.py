"""Which parameter is moved by which rule, and which stacks hold a matrix per head: path patterns, first match wins."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from polaris_jax.errors import InputError

GROUPS = ("muon", "adamw", "frozen")


@dataclass(frozen=True)
class GroupRule:
    """``pattern`` is searched in the slash-joined path (``blocks/0/mlp/up``); ``group`` is muon, adamw or frozen."""

    pattern: str
    group: str


# Stacked block matrices to Muon; embeddings, head, norms, convolutions and other vectors to AdamW.
DEFAULT_RULES = (
    GroupRule(r"^blocks/.*/(attention|linear_attention|mlp)/(?!.*(norm|conv|a_log|dt_bias))", "muon"),
    GroupRule(r"", "adamw"),
)

# The second stage of the recipe: self-attention and the gates of the MLP learn, everything else stays.
ATTENTION_AND_GATES = (("^blocks/.*/attention/(q|k|v|o)$", "muon"), ("^blocks/.*/mlp/gate$", "muon"), ("", "frozen"))


@dataclass(frozen=True)
class Split:
    """A weight whose rows (``axis`` -2) or columns (-1) are ``parts`` equal blocks, each a matrix of its own."""

    axis: int
    parts: int


def attention_splits(heads: int, kv_heads: int, *, gated: bool = False) -> tuple[tuple[str, Split], ...]:
    """``(path pattern, Split)`` that make every head of the projections a matrix of its own.

    Args:
      gated: the query projection also makes an output gate (``[q | gate]`` per head), which is split off too.
    """
    return ((r"\battention/q$", Split(-1, heads * (2 if gated else 1))), (r"\battention/(k|v)$", Split(-1, kv_heads)),
            (r"\battention/o$", Split(-2, heads)))


def find_split(name: str, splits: Sequence[tuple[str, Split]]) -> Split | None:
    """The first of ``splits`` whose pattern is found in the path ``name``."""
    return next((split for pattern, split in splits if re.search(pattern, name)), None)


def path_name(path) -> str:
    """``blocks/0/mlp/up`` from a JAX key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def label_params(params, rules: Sequence[GroupRule] = DEFAULT_RULES):
    """A tree like ``params`` with the group name of every leaf.

    Raises:
      InputError: an unknown group, a path no rule matches, or a vector routed to muon by a written rule.
    """
    for rule in rules:
        if rule.group not in GROUPS:
            raise InputError("optim.groups", rule.group, f"groups are {', '.join(GROUPS)}")

    def label(path, leaf):
        name = path_name(path)
        for rule in rules:
            if re.search(rule.pattern, name):
                # A stack of vectors ([layers, width]) is not a stack of matrices, whatever its number of axes says.
                stacked = name.startswith("blocks/")
                if rule.group == "muon" and leaf.ndim < (3 if stacked else 2):
                    return "adamw"
                return rule.group
        raise InputError("optim.groups", name, "no rule matches this parameter; end the list with pattern ''")

    return jax.tree_util.tree_map_with_path(label, params)


def group_table(params, labels) -> list[tuple[str, int, int]]:
    """Rows ``(group, arrays, parameters)`` for the table printed at the start of a run."""
    rows = {}
    for leaf, group in zip(jax.tree.leaves(params), jax.tree.leaves(labels), strict=True):
        arrays, count = rows.get(group, (0, 0))
        rows[group] = arrays + 1, count + leaf.size
    return [(group, *rows[group]) for group in GROUPS if group in rows]
