"""Repairs replies that no grammar bound, where they can match the step's grammar without any invented text."""

import re
import unicodedata

from polaris_jax.sampling.shortest_completion import shortest_completion
from polaris_jax.trajectory import EOT, START, close_prose
from polaris_jax.trajectory.continuation import fixed_text
from polaris_jax.trajectory.grammar import Grammar
from polaris_jax.trajectory.stages import FENCE

# Lines at a reply's end that may be dropped to leave a whole text.
MOST_LINES_DROPPED = 12


def tidy(reply: str, given: str) -> str:
    """A reply without its repetition of ``given``, code fences around it, edge spaces and doubled blank lines."""
    text = unicodedata.normalize("NFC", reply.replace("\r\n", "\n").replace("\r", "\n"))
    for special in (EOT, START):
        text = text.partition(special)[0]
    last = given.rpartition("\n")[2]
    if text.strip().startswith(FENCE):
        text = text.strip().partition("\n")[2].removesuffix(FENCE)
    if last and text.lstrip().startswith(last.strip()) and last.strip():
        text = text.lstrip()[len(last.strip()) :].lstrip(" ")
    lines = [" ".join(line.split(" ")).rstrip().replace("\t", " ") for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).lstrip("\n")


def repaired(grammar: Grammar, text: str) -> str:
    """The longest part of ``text`` that matches ``grammar``, alone or with text that the grammar fixes.

    If there is none, ``text`` itself, which the caller's check then refuses.
    """
    end = grammar.prefix(text)
    if end is not None:
        return text[:end]
    lines = text.rstrip().split("\n")
    for dropped in range(min(MOST_LINES_DROPPED, len(lines))):
        kept = "\n".join(lines[: len(lines) - dropped]).rstrip()
        rest = shortest_completion(grammar, kept)
        missing = None if rest is None else fixed_text(rest)
        if missing is not None:
            return kept + missing
    return text


def repaired_prose(grammar: Grammar, text: str) -> str:
    """Prose with one line per paragraph, closed by its fence."""
    body = text.partition(f"\n{FENCE}")[0]
    blocks = re.split(r"\n\s*\n", body.strip())
    paragraphs = [" ".join(block.split()).lstrip("#` ") for block in blocks]
    joined = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    if not joined:
        return text
    whole = f"{joined}\n{FENCE}"
    return whole if grammar.matches(whole) or f"\n{FENCE}" in text else close_prose(joined)
