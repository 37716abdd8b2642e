"""Variants: other forms of a trajectory, such as without a scaffold, or with the scaffold after the text.

A variant selects and reorders whole stages of a tokenised trajectory. Tokens never cross the border of a stage, so a
stage has the same tokens in every place, and every variant of a book has the same prose. Roles, kinds and loss weights
stay with their tokens.
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
class StageTokens:
    """One stage of a trajectory, end-of-turn included; the first one also has the beginning-of-sequence token."""

    role: str
    part: Trajectory


Variant = Callable[[Sequence[StageTokens], Tokenizer], list[StageTokens]]


def split(trajectory: Trajectory, eot_id: int) -> list[StageTokens]:
    """The stages of a trajectory, in order; tokens after the last end-of-turn (of a cut trajectory) are a stage too."""
    ends = [*(1 + np.flatnonzero(trajectory.tokens == eot_id)).tolist()]
    if not ends or ends[-1] != len(trajectory):
        ends.append(len(trajectory))
    return [
        StageTokens(ROLES[int(trajectory.roles[stop - 1])], trajectory.cut(start, stop))
        for start, stop in zip([0, *ends[:-1]], ends, strict=True)
    ]


def join(stages: Sequence[StageTokens]) -> Trajectory:
    """The trajectory of consecutive stages."""
    parts = [stage.part for stage in stages]
    return Trajectory(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("tokens", "roles", "kinds", "weights"))
    )


def _prose(stages: Sequence[StageTokens]) -> list[StageTokens]:
    return [stage for stage in stages if stage.role in TEXT_ROLES]


def _planning(stages: Sequence[StageTokens]) -> list[StageTokens]:
    return [stage for stage in stages if stage.role not in TEXT_ROLES and stage.role != "prompt"]


def _prompt(stages: Sequence[StageTokens]) -> list[StageTokens]:
    return [stage for stage in stages if stage.role == "prompt"]


def no_scaffold(stages: Sequence[StageTokens], tokenizer: Tokenizer) -> list[StageTokens]:
    """Only the prompt and the text of the book."""
    return [*_prompt(stages), *_prose(stages)]


def scaffold_after(stages: Sequence[StageTokens], tokenizer: Tokenizer) -> list[StageTokens]:
    """The same stages with the plan after the text: the model analyses the text instead of writing from the plan."""
    return [*_prompt(stages), *_prose(stages), *_planning(stages)]


def no_scenes(stages: Sequence[StageTokens], tokenizer: Tokenizer) -> list[StageTokens]:
    """Everything but the scene cards, those of the first chapter included."""
    kept = [stage for stage in stages if stage.role not in ("scene_breakdown", "first_chapter_scene_breakdown")]
    return [_without_scenes(stage, tokenizer) if stage.role == "first_chapter_plan" else stage for stage in kept]


def late_first_chapter(stages: Sequence[StageTokens], tokenizer: Tokenizer) -> list[StageTokens]:
    """The first chapter after the plan of the whole book instead of before it."""
    later = [stage for stage in stages if stage.role == "first_chapter_text"]
    rest = [stage for stage in stages if stage.role != "first_chapter_text"]
    planned = 1 + max(
        (i for i, stage in enumerate(rest) if stage.role in ("full_book_chapters_plan", "book_characters_list")),
        default=len(rest) - 1,
    )
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
      InputError: an unknown variant.
    """
    if variant not in VARIANTS:
        raise InputError("variant", variant, f"use one of {', '.join(VARIANTS)}")
    return join(VARIANTS[variant](split(trajectory, tokenizer.eot_id), tokenizer))


def write_variant(store: TokenStore, variant: str, tokenizer: Tokenizer, path: str) -> TokenStore:
    """The whole store in another form at ``path``; a store that exists there is kept."""
    try:
        return TokenStore.open(path, tokenizer)
    except InputError:
        with TokenStore.create(path, tokenizer) as writer:
            for index in range(len(store)):
                writer.append(vary(store.read(index), variant, tokenizer), store.meta(index))
        return TokenStore.open(path, tokenizer)


def _without_scenes(stage: StageTokens, tokenizer: Tokenizer) -> StageTokens:
    """A chapter plan without the scene cards at its end; its end-of-turn stays."""
    part = stage.part
    text = tokenizer.decode(part.tokens.tolist())
    at = text.find(_SCENES)
    if at < 0:
        return stage
    before, read = len(text[:at].rstrip().encode()), 0  # bytes
    pieces = tokenizer.token_bytes()
    kept = 0
    for token in part.tokens.tolist():
        read += len(pieces[token])
        if read > before:
            break
        kept += 1
    last = len(part) - 1
    return StageTokens(
        stage.role, join([StageTokens("", part.cut(0, kept)), StageTokens("", part.cut(last, len(part)))])
    )
