"""Other forms of a trajectory: without a scaffold, with the scaffold after the text, and so on.

A variant selects and reorders whole stages of a tokenised trajectory. Text is cut into tokens at the stage strings
only, so a stage has the same tokens wherever it stands, and every variant of a book teaches the same prose. Roles,
kinds and loss weights travel with their tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.data import Tokenizer, TokenStore, Trajectory
from polaris_jax.errors import InputError
from polaris_jax.trajectory import ROLES
from polaris_jax.trajectory.stages import TEXT_ROLES

_SCENES = "### Scene Breakdown"


@dataclass(frozen=True)
class Stage:
    """One stage of a trajectory, end-of-turn included; the first one also carries the beginning-of-sequence token."""

    role: str
    part: Trajectory


Variant = Callable[[Sequence[Stage], Tokenizer], list[Stage]]


def split(trajectory: Trajectory, eot_id: int) -> list[Stage]:
    """The stages of a trajectory, in order; what follows the last end-of-turn (a cut) is a stage too."""
    ends = [*(1 + np.flatnonzero(trajectory.tokens == eot_id)).tolist()]
    if not ends or ends[-1] != len(trajectory):
        ends.append(len(trajectory))
    return [Stage(ROLES[int(trajectory.roles[stop - 1])], trajectory.cut(start, stop))
            for start, stop in zip([0, *ends[:-1]], ends, strict=True)]  # fmt: skip


def join(stages: Sequence[Stage]) -> Trajectory:
    """One trajectory of stages, end to end."""
    parts = [stage.part for stage in stages]
    return Trajectory(*(np.concatenate([getattr(part, name) for part in parts])
                        for name in ("tokens", "roles", "kinds", "weights")))  # fmt: skip


def _prose(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if stage.role in TEXT_ROLES]


def _planning(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if stage.role not in TEXT_ROLES and stage.role != "prompt"]


def _prompt(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if stage.role == "prompt"]


def no_scaffold(stages: Sequence[Stage], tokenizer: Tokenizer) -> list[Stage]:
    """Prompt, then the text of the book and nothing else."""
    return [*_prompt(stages), *_prose(stages)]


def scaffold_after(stages: Sequence[Stage], tokenizer: Tokenizer) -> list[Stage]:
    """The same stages, but the plan is appended to the text: analysis instead of inversion."""
    return [*_prompt(stages), *_prose(stages), *_planning(stages)]


def no_scenes(stages: Sequence[Stage], tokenizer: Tokenizer) -> list[Stage]:
    """Everything but the scene cards, those of the first chapter included."""
    kept = [stage for stage in stages if stage.role not in ("scene_breakdown", "first_chapter_scene_breakdown")]
    return [_without_scenes(stage, tokenizer) if stage.role == "first_chapter_plan" else stage for stage in kept]


def late_first_chapter(stages: Sequence[Stage], tokenizer: Tokenizer) -> list[Stage]:
    """The first chapter is written when the whole book is planned, not before."""
    later = [stage for stage in stages if stage.role == "first_chapter_text"]
    rest = [stage for stage in stages if stage.role != "first_chapter_text"]
    planned = 1 + max((i for i, stage in enumerate(rest)
                       if stage.role in ("full_book_chapters_plan", "book_characters_list")), default=len(rest) - 1)
    return [*rest[:planned], *later, *rest[planned:]]


VARIANTS: dict[str, Variant] = {
    "trajectory": lambda stages, tokenizer: list(stages),
    "no_scaffold": no_scaffold,
    "scaffold_after": scaffold_after,
    "no_scenes": no_scenes,
    "late_first_chapter": late_first_chapter,
}


def vary(trajectory: Trajectory, variant: str, tokenizer: Tokenizer) -> Trajectory:
    """A trajectory in another form.

    Raises:
      InputError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise InputError("variant", variant, f"use one of {', '.join(VARIANTS)}")
    return join(VARIANTS[variant](split(trajectory, tokenizer.eot_id), tokenizer))


def write_variant(store: TokenStore, variant: str, tokenizer: Tokenizer, path: str) -> TokenStore:
    """The whole store in another form at ``path``, trajectory by trajectory; one that is there already is kept."""
    try:
        return TokenStore.open(path, tokenizer)
    except InputError:
        with TokenStore.create(path, tokenizer) as writer:
            for index in range(len(store)):
                writer.append(vary(store.read(index), variant, tokenizer), store.meta(index))
        return TokenStore.open(path, tokenizer)


def _without_scenes(stage: Stage, tokenizer: Tokenizer) -> Stage:
    """A chapter plan without the scene cards at its end; its end-of-turn stays."""
    part = stage.part
    text = tokenizer.decode(part.tokens.tolist())
    at = text.find(_SCENES)
    if at < 0:
        return stage
    before, spelt = len(text[:at].rstrip().encode()), 0
    pieces = tokenizer.token_bytes()
    kept = 0
    for token in part.tokens.tolist():
        spelt += len(pieces[token])
        if spelt > before:
            break
        kept += 1
    last = len(part) - 1
    return Stage(stage.role, join([Stage("", part.cut(0, kept)), Stage("", part.cut(last, len(part)))]))
