"""Which characters of a transcript are supervised, and how much (trajectory specification 4.6)."""

from collections.abc import Iterator
from dataclasses import dataclass

from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book_transcript import family_of, stage_tree
from polaris_jax.trajectory.stages import FENCE
from polaris_jax.trajectory.transcript import Stage, split_stages
from polaris_jax.trajectory.tree import Tree

# In a fixed order: the position is the kind's integer id wherever arrays need one.
KINDS = ("prompt", "header", "scaffold", "copy", "prose")

# Sections of book_plan whose heads repeat Short Story Arcs and Chapter Names.
_REPEATING = (stages.MEDIUM, stages.LONG, stages.NUMBERS, stages.NAMES, stages.VECTORS, stages.COUNTS)


@dataclass(frozen=True)
class LossPolicy:
    """Switches of the loss mask.

    Attributes:
      mask_headers: weight 0 for stage headers after the prompt (the orchestrator always injects them).
      mask_copies: weight 0 for text that is prefilled or literal at inference.
      scaffold_weight: weight of planning text, headers and copies included.
      prose_weight: weight of prose and of the fence and end-of-turn that close it.
    """

    mask_headers: bool = False
    mask_copies: bool = False
    scaffold_weight: float = 1.0
    prose_weight: float = 1.0


@dataclass(frozen=True)
class Span:
    """``transcript[start:end]`` belongs to stage ``role``, has a ``kind`` (KINDS) and weighs ``weight`` per token."""

    start: int
    end: int
    role: str
    kind: str
    weight: float


def spans(transcript: str, policy: LossPolicy = LossPolicy()) -> list[Span]:
    """Spans that cover the transcript in order and without gaps.

    ``prompt`` is everything up to and including the first ``<|eot_id|>``, weight 0. Every later end-of-turn is
    supervised; after prose it has the weight of the prose.

    Raises:
      InputError: a stage does not match the reference grammar.
    """
    parts = split_stages(transcript)
    family = family_of(parts)
    merged: list[Span] = []
    for part in parts:
        for start, end, kind, weight in _stage_spans(part, family, policy):
            last = merged[-1] if merged else None
            if last and (last.role, last.kind, last.weight) == (part.role, kind, weight) and part.start < start:
                merged[-1] = Span(last.start, end, part.role, kind, weight)
            elif end > start:
                merged.append(Span(start, end, part.role, kind, weight))
    return merged


def _stage_spans(part: Stage, family: str, policy: LossPolicy) -> Iterator[tuple[int, int, str, float]]:
    if part.role == "prompt":
        yield part.start, part.end, "prompt", 0.0
        return
    scaffold = policy.scaffold_weight
    copied = 0.0 if policy.mask_copies else scaffold
    yield part.start, part.text_start, "header", 0.0 if policy.mask_headers else scaffold
    tree = stage_tree(part.role, part.text, family)
    at = part.text_start
    if part.role in stages.TEXT_ROLES:
        prose = tree.first("prose")
        stop = prose.end - len(f"\n{FENCE}") * prose.text.endswith(f"\n{FENCE}")
        yield at, at + prose.start, "copy", copied
        yield at + prose.start, at + stop, "prose", policy.prose_weight
        yield at + stop, part.end, "scaffold", policy.prose_weight
        return
    cursor = 0
    for start, end in _copies(part.role, tree, family):
        yield at + cursor, at + start, "scaffold", scaffold
        yield at + start, at + end, "copy", copied
        cursor = end
    yield at + cursor, part.end, "scaffold", scaffold


def _copies(role: str, tree: Tree, family: str) -> Iterator[tuple[int, int]]:
    """Intervals of a planning stage that repeat an earlier part word for word."""
    if family == "first_chapter":
        if role == "first_chapter_scene_breakdown":
            yield 0, tree.first("chapter_name").end + 1
        return
    if role == "book_plan":
        for header in _REPEATING:
            section = tree.first(stages.part_name(header))
            for index, arc in enumerate(section.children):
                head = arc.first("arc_head")
                yield (arc.start if index else section.start), head.end
                if header in (stages.VECTORS, stages.COUNTS):
                    for name in (child for child in arc.children if child.name == "chapter_name"):
                        yield name.start - len("#### "), name.end + 1
    elif role in ("first_chapter_plan", "full_book_chapters_plan"):
        for card in tree.all("card"):
            yield card.start, card.first("vector").end + 1
    elif role == "scene_breakdown":
        yield 0, tree.first("chapter_name").end + 1
