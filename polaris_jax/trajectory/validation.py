"""The verdict on one stage or element: does the text match the grammar, and if not, where does it fail?

``reference`` mode accepts exactly what the released patterns accept. ``strict`` mode also asks for the canonical
serialisation (S1-S5), legal word-count bins (G1), consecutive numbers, and agreement of the sections with each other.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.trajectory import stages, strict
from polaris_jax.trajectory.scripts import scripts_of
from polaris_jax.trajectory.stage_text import READERS
from polaris_jax.trajectory.strict import Violation
from polaris_jax.trajectory.transcript import SPECIALS
from polaris_jax.trajectory.tree import Failure

MODES = ("reference", "strict")


@dataclass(frozen=True)
class Validation:
    """Truthy if and only if the text is valid; each violation names its place (line, column or field)."""

    violations: tuple[Violation, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.violations

    def __bool__(self) -> bool:
        return self.ok


def validate(
    role_or_element: str,
    text: str,
    mode: str = "reference",
    params: dict | list | None = None,
    family: str = "full_book",
) -> Validation:
    """Judges a whole stage text or element.

    Args:
      role_or_element: a stage role or an element name (``trajectory.ELEMENTS``).
      text: the text without header and ``<|eot_id|>``.
      mode: ``reference`` or ``strict``.
      params: planned chapter(s) ``{"chapter_name", "chapter_word_count", "chapter_embedding_space"}`` for the elements
        whose grammar is built from a plan.
      family: ``full_book`` (14B) or ``first_chapter`` (24B); decides what ``book_plan`` and ``first_chapter_plan``
      mean.

    Raises:
      InputError: unknown name, mode or family, or missing ``params``.
    """
    if mode not in MODES:
        raise InputError("mode", mode, f"use one of {', '.join(MODES)}")
    node = stages.element(role_or_element, params, family)
    if mode == "reference" and node.matches(text):
        return Validation()
    return Validation(examine(role_or_element, text, mode, params, family)[0])


def examine(
    role_or_element: str, text: str, mode: str, params: dict | list | None = None, family: str = "full_book"
) -> tuple[tuple[Violation, ...], Any]:
    """Violations, and the content of the stage (None for elements, the prompt, and unreadable text)."""
    name = stages.element_name(role_or_element, family)
    tree = stages.element(role_or_element, params, family).parse(text)
    if isinstance(tree, Failure) and mode == "strict" and name in stages.ANY_SCRIPT and scripts_of(text):
        tree = stages.ANY_SCRIPT[name].parse(text)
    if isinstance(tree, Failure):
        return (mismatch(tree, text),), None
    said = READERS[name](tree) if name in READERS else None
    if mode == "reference":
        return (), said
    return (*_characters(text), *strict.violations(name, tree, said)), said


def mismatch(failure: Failure, text: str) -> Violation:
    """Where a text departs from its grammar, and what was expected there."""
    line = text.count("\n", 0, failure.offset) + 1
    column = failure.offset - text.rfind("\n", 0, failure.offset)
    place = f"line {line}, column {column}" + (f", {failure.field}" if failure.field else "")
    found = repr(text[failure.offset : failure.offset + 30]) if failure.offset < len(text) else "the end"
    return Violation("V1", place, f"expected {failure.expected}, found {found}")


def _characters(text: str) -> Iterator[Violation]:
    """S4, S5, V9 and V10: rules about characters that hold in every stage."""
    composed = unicodedata.is_normalized("NFC", text)
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            yield Violation("V10", f"line {number}", "trailing whitespace")
        if not composed and not unicodedata.is_normalized("NFC", line):
            yield Violation("S5", f"line {number}", "text must be in Unicode normal form C")
        if not line.isprintable() and any(char < " " and char != "\t" for char in line):
            yield Violation("S5", f"line {number}", "control character")
        for special in SPECIALS:
            if special in line:
                yield Violation("V9", f"line {number}", f"reserved string {special}")
