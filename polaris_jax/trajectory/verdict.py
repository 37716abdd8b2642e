"""The verdict on a whole transcript: every stage, their order and number, and the gates between stages.

Modes: ``reference`` (the released patterns and parser), ``strict`` (canonical form; names, counts and vectors as
planned: gates V1-V4, V6, V9, V10, G1, G2) and ``corpus`` (strict, plus what only a book built from real prose
satisfies: V5, the count on a card is the binned count of the prose, and V7, a chapter's vector is the weighted mean of
its scenes').
"""

from collections.abc import Iterator
from dataclasses import dataclass

from polaris_jax.errors import InputError
from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book_transcript import family_of
from polaris_jax.trajectory.gates import check_counts, check_plan
from polaris_jax.trajectory.strict import Violation
from polaris_jax.trajectory.transcript import Stage, extract_planned_chapters, split_stages
from polaris_jax.trajectory.validation import examine
from polaris_jax.trajectory.words import count_words

MODES = ("reference", "strict", "corpus")
OPENING = {
    "full_book": (
        "prompt",
        "book_preview",
        "book_plan",
        "first_chapter_plan",
        "first_chapter_text",
        "full_book_chapters_plan",
        "book_characters_list",
    ),
    "first_chapter": (
        "prompt",
        "book_plan",
        "first_chapter_plan",
        "first_chapter_scene_breakdown",
        "first_chapter_text",
    ),
}


@dataclass(frozen=True)
class StageVerdict:
    """One stage: its role, whether it is valid, and its first violation."""

    role: str
    ok: bool
    violation: Violation | None
    stage: Stage


@dataclass(frozen=True)
class Verdict:
    """Truthy if and only if the transcript is valid.

    ``truncated``: the book ends at a legal place, after a ``chapter_text``, before its last planned chapter.
    """

    family: str
    stages: tuple[StageVerdict, ...]
    violations: tuple[Violation, ...]
    truncated: bool = False

    @property
    def ok(self) -> bool:
        return not self.violations

    def __bool__(self) -> bool:
        return self.ok


def stage_order(family: str, chapters: int) -> list[str]:
    """Roles of a complete transcript of a book with this many planned chapters."""
    pairs = max(chapters - 1, 0) if family == "full_book" else 0
    return [*OPENING[family], *("scene_breakdown", "chapter_text") * pairs]


def check(transcript: str, mode: str = "strict") -> Verdict:
    """Judges a whole transcript (14B full book, 24B first chapter, or a mini book: they share the grammar).

    Each violation's place begins with the stage's index and role, for example ``stage 2 book_plan, line 13,
    arc_number``.

    Raises:
      InputError: unknown mode. A string that is not a sequence of stages gives a verdict with one violation.
    """
    if mode not in MODES:
        raise InputError("mode", mode, f"use one of {', '.join(MODES)}")
    try:
        parts = split_stages(transcript)
    except InputError as error:
        return Verdict("full_book", (), (Violation("V1", "transcript", str(error)),))
    family = family_of(parts)
    planned, plan_violation = _planned(parts, family)
    order, truncated = _order(parts, family, len(planned))

    found: list[list[Violation]] = []
    said: list = []
    for part in parts:
        literal = planned if mode == "reference" and part.role == "full_book_chapters_plan" else None
        basic = "reference" if mode == "reference" else "strict"
        broken, what = examine(part.role, part.text, basic, literal or None, family)
        found.append(list(broken))
        said.append(what)
        if part.role == "book_plan" and plan_violation and not broken:
            found[-1].append(plan_violation)
    if mode != "reference":
        _add(found, check_plan(parts, said, family, planned))
    if mode == "corpus":
        _add(found, check_counts(parts, said, family))

    verdicts, everything = [], []
    for index, (part, violations) in enumerate(zip(parts, found, strict=True)):
        placed = [Violation(one.gate, f"stage {index} {part.role}, {one.place}", one.message) for one in violations]
        verdicts.append(StageVerdict(part.role, not placed, placed[0] if placed else None, part))
        everything += placed
    return Verdict(family, tuple(verdicts), (*order, *everything), truncated)


def describe_transcript(transcript: str, mode: str = "strict") -> list[dict]:
    """One ``{role, ok, violation, words, chars}`` per stage; ``violation`` is a line of text or None.

    Raises:
      InputError: the string is not a sequence of stages.
    """
    split_stages(transcript)
    return [
        {
            "role": found.role,
            "ok": found.ok,
            "violation": str(found.violation) if found.violation else None,
            "words": count_words(found.stage.text),
            "chars": len(found.stage.text),
        }
        for found in check(transcript, mode).stages
    ]


def _add(found: list[list[Violation]], more: Iterator[tuple[int, Violation]]) -> None:
    for index, violation in more:
        found[index].append(violation)


def _planned(parts: list[Stage], family: str) -> tuple[list[dict], Violation | None]:
    """Chapters of the 14B plan, and the violation if they are not a book of at least two chapters."""
    plan = next((part for part in parts if part.role == "book_plan"), None)
    if family != "full_book" or plan is None:
        return [], None
    try:
        planned = extract_planned_chapters(plan.text)
    except InputError as error:
        return [], Violation("V4", "chapter lists", str(error))
    if len(planned) < 2:
        return planned, Violation("V3", stages.NAMES, f"{len(planned)} chapter planned, a book has at least two")
    return planned, None


def _order(parts: list[Stage], family: str, chapters: int) -> tuple[list[Violation], bool]:
    """Violations of the stage order, and whether the book is truncated at a legal place."""
    expected = stage_order(family, chapters)
    for index, (part, role) in enumerate(zip(parts, expected, strict=False)):
        if part.role != role:
            return [Violation("V1", f"stage {index} {part.role}", f"expected stage {role}")], False
    if len(parts) > len(expected):
        extra = parts[len(expected)].role
        return [Violation("V3", f"stage {len(expected)} {extra}", "more stages than planned chapters")], False
    if len(parts) < len(expected):
        if parts and parts[-1].role == "chapter_text":
            return [], True
        missing = expected[len(parts)]
        return [Violation("V1", f"stage {len(parts)}", f"the transcript ends, expected stage {missing}")], False
    return [], False
