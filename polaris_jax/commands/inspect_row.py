"""A stored row as a trainer sees it: which tokens are learned and which are only read, coloured or as JSON."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from polaris_jax import storage
from polaris_jax.data import Tokenizer, Trajectory

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 serif; }}
p.about {{ font: 0.9rem/1.4 sans-serif; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; }}
mark {{ background: light-dark(#cdeccd, #17401f); color: inherit; border-radius: 0.2rem; }}
.read {{ color: light-dark(#5a5a5a, #a6a6a6); }}
</style></head>
<body><h1>{title}</h1><p class="about">{about}. <mark>Learned</mark> <span class="read">only read</span></p>
<pre>{body}</pre></body></html>
"""


@dataclass(frozen=True)
class StoredRow:
    """A trajectory, and its metadata in the store."""

    trajectory: Trajectory
    meta: dict[str, Any]


@dataclass(frozen=True)
class ShownSpan:
    """Consecutive tokens that are all learned (``weight`` above 0) or all only read, with their text."""

    text: str
    tokens: int
    weight: float


def spans(row: StoredRow, tokenizer: Tokenizer) -> Iterator[ShownSpan]:
    """The row in spans of one weight, with control tokens as names. The first token is never a target: weight 0."""
    tokens, weights = row.trajectory.tokens, row.trajectory.weights.copy()
    weights[:1] = 0
    names = {number: name for name, number in tokenizer.control_tokens.items()}
    pieces = tokenizer.token_bytes()
    cuts = [0, *(1 + np.flatnonzero(np.diff(weights))).tolist(), len(tokens)]
    for start, stop in pairwise(cuts):
        spelt = b"".join(
            names[number].encode() if number in names else pieces[number] for number in tokens[start:stop].tolist()
        )
        yield ShownSpan(spelt.decode("utf-8", "replace"), stop - start, float(weights[start]))


def show(row: StoredRow, tokenizer: Tokenizer, name: str, *, as_json: bool, page: str | None) -> int:
    """Prints the row as JSON, or in colour: learned tokens green, the others grey; returns 0.

    Args:
      name: name of the row. page: address of the coloured page, if wanted.
    """
    parts = list(spans(row, tokenizer))
    learned = sum(part.tokens for part in parts if part.weight > 0)
    about = f"{learned:,} of {len(row.trajectory):,} tokens are learned"
    if page is not None:
        coloured = (
            f"<mark>{escape(part.text)}</mark>" if part.weight > 0 else f'<span class="read">{escape(part.text)}</span>'
            for part in parts
        )
        said = f"{row.meta.get('format')}, {row.meta.get('where')}: {about}"
        content = _PAGE.format(title=escape(name), about=escape(said), body="".join(coloured))
        storage.write(page, content.encode())
        print(page, file=sys.stderr)
    if as_json:
        shown = [{"text": part.text, "tokens": part.tokens, "weight": part.weight} for part in parts]
        record = {"row": name, "meta": row.meta, "tokens": len(row.trajectory), "learned": learned, "spans": shown}
        print(json.dumps(record, ensure_ascii=False))
        return 0
    console = Console()
    for key, value in row.meta.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    for part in parts:
        what = f"learned, {part.tokens} tokens" if part.weight > 0 else f"only read, {part.tokens} tokens"
        weight = "" if part.weight in (0.0, 1.0) else f", weight {part.weight:g}"
        console.print(Text(f"[{what}{weight}]", style="bold"))
        console.print(Text(part.text, style="green" if part.weight > 0 else "bright_black"))
    console.print(about, highlight=False)
    return 0
