"""Strict mode: rules beyond the released grammar, stage by stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from polaris_jax.trajectory import stages
from polaris_jax.trajectory.stage_text import WRITERS, BookPlan
from polaris_jax.trajectory.tree import Tree
from polaris_jax.trajectory.words import is_legal_count

# Leaves that fill the rest of their line. The released grammar accepts a header on the same line; that is a defect.
LINE_LEAVES = frozenset({"bullet", "count", "chapter_name", "name", "arc_title", "scene_name", "perspective", "tag"})


@dataclass(frozen=True)
class Violation:
    """One broken rule: its gate (V1-V10, S1-S5, G1), the place (line, field or stage) and what is wrong."""

    gate: str
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.gate} {self.place}: {self.message}"


def violations(name: str, tree: Tree, said: Any) -> Iterator[Violation]:
    """Strict violations of a text that matches the reference grammar.

    Args:
      name: element name.
      tree: the text's named parts.
      said: content of the stage (``stage_text``), or None for an element that is not a whole stage.
    """
    text = tree.text
    if name == "prompt":
        return
    if name in stages.TEXT_ROLES:
        yield from _prose(text)
    yield from _leaves(tree)
    yield from _numbering(tree)
    yield from _blank_lines(text, inside_prose=name in stages.TEXT_ROLES)
    if said is None:
        return
    if name == "book_plan_14b":
        yield from plan_violations(said)
    canonical = WRITERS[name](said)
    if canonical != text:
        yield _first_difference(text, canonical)


def _leaves(tree: Tree) -> Iterator[Violation]:
    for leaf in _walk(tree):
        if leaf.name == "count" and (leaf.text[0] == "0" or not is_legal_count(int(leaf.text))):
            yield Violation("G1", _place(tree, leaf), f"{leaf.text} is not a legal rounded word count")
        if leaf.name == "dimension" and len(leaf.text) > 1 and leaf.text[0] == "0":
            yield Violation("S1", _place(tree, leaf), f"{leaf.text} has a leading zero")
        if leaf.name == "chapter_name" and (leaf.text != leaf.text.strip() or leaf.text.startswith("#")):
            yield Violation("V4", _place(tree, leaf), "a chapter name has no edge spaces and does not begin with #")
        if leaf.name in LINE_LEAVES and tree.text[leaf.end : leaf.end + 1] not in ("", "\n"):
            yield Violation("S1", _place(tree, leaf), "the next header is glued to this line")


def _place(tree: Tree, part: Tree) -> str:
    return f"line {tree.text.count(chr(10), 0, part.start) + 1}, {part.name}"


def _numbering(tree: Tree) -> Iterator[Violation]:
    """Arcs and scenes count 1, 2, 3, ... in every section."""
    for kind, number, gate in (("arc", "arc_number", "V2"), ("scene", "scene_number", "V6")):
        for parent in _walk(tree):
            blocks = [child for child in parent.children if child.name == kind]
            for expected, block in enumerate(blocks, 1):
                found = block.first(number).text
                if int(found) != expected:
                    place = _place(tree, block.first(number))
                    yield Violation(gate, place, f"expected {kind} {expected}, found {found}")


def _blank_lines(text: str, inside_prose: bool) -> Iterator[Violation]:
    lines = text.split("\n")
    for number, (previous, line) in enumerate(pairwise(lines), 2):
        if not previous and not line and number < len(lines):
            yield Violation("S1", f"line {number}", "more than one blank line")
        is_header = line.startswith(("## ", "### ")) and not inside_prose
        if is_header and previous and not previous.startswith(("## ", "### ")):
            yield Violation("S1", f"line {number}", "a blank line must stand before this header")
        if not line and previous.startswith(("## ", "### ", "#### ")) and not inside_prose:
            yield Violation("S2", f"line {number}", "no blank line between a header and its content")


def _prose(text: str) -> Iterator[Violation]:
    lines = text.split("\n")
    body = lines[2:-1] if len(lines) > 2 and lines[-1] == stages.FENCE else lines[2:]
    if len(lines) < 4 or lines[-1] != stages.FENCE:
        yield Violation("V1", f"line {len(lines)}, prose", "the text must end with a line of three back-ticks")
    if not "".join(body).strip():
        yield Violation("V1", "line 3, prose", "the chapter has no text")
    elif not body[0] or not body[-1]:
        yield Violation("S3", "line 3, prose", "prose neither begins nor ends with a blank line")
    elif body[0].startswith(("## ", "### ")):
        yield Violation("V9", "line 3, prose", "prose must not begin with a heading")
    for number, line in enumerate(body, 3):
        if line.startswith(stages.FENCE):
            yield Violation("V9", f"line {number}, prose", "a line of prose begins with three back-ticks")


def plan_violations(plan: BookPlan) -> Iterator[Violation]:
    """V2-V4 inside a 14B book plan: all sections must list the same arcs and chapters."""
    titles = [title for title, _ in plan.short]
    sections = {
        stages.MEDIUM: plan.medium,
        stages.LONG: plan.long,
        stages.NUMBERS: plan.numbers,
        stages.NAMES: plan.names,
        stages.VECTORS: plan.vectors,
        stages.COUNTS: plan.counts,
    }
    for section, arcs in sections.items():
        found = [title for title, _ in arcs]
        if found != titles:
            yield Violation("V2", section, f"arc titles {found!r} differ from {stages.SHORT}: {titles!r}")
    for (title, (number,)), (_, names) in zip(plan.numbers, plan.names, strict=False):
        if number != len(names):
            yield Violation("V3", f"{stages.NUMBERS}, {title}", f"{number} chapters announced, {len(names)} named")
    named = [(title, list(names)) for title, names in plan.names]
    for section in (stages.VECTORS, stages.COUNTS):
        if [(title, [name for name, _ in pairs]) for title, pairs in sections[section]] != named:
            yield Violation("V4", section, f"chapter names differ from {stages.NAMES}")
    if sum(len(names) for _, names in named) < 2:
        yield Violation("V3", stages.NAMES, "a book has at least two chapters")


def _first_difference(text: str, canonical: str) -> Violation:
    ours, theirs = text.split("\n"), canonical.split("\n")
    for number, (found, expected) in enumerate(zip(ours, theirs, strict=False), 1):
        if found != expected:
            return Violation("S1", f"line {number}", f"expected {expected[:60]!r}, found {found[:60]!r}")
    number = min(len(ours), len(theirs)) + 1
    return Violation("S3", f"line {number}", "the stage must neither begin nor end with a newline")


def _walk(tree: Tree) -> Iterator[Tree]:
    yield tree
    for child in tree.children:
        yield from _walk(child)
