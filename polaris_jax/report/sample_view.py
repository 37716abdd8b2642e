"""The samples of a post-training run on one page: prompts, completions, human references, judge's scores, advantages.

It needs only the run's folder: the journals of its steps and the group records beside them.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.llm.replies import UnreadableReply, read_values
from polaris_jax.report.page import render
from polaris_jax.report.run_state import run_folder
from polaris_jax.rewards import InvalidJudgeReply, read_rubric_scores, split_thinking
from polaris_jax.rewards.dimensions import DIMENSIONS

STEPS = "steps"
REFERENCE = -1  # member of the human reference


@dataclass(frozen=True)
class SheetRow:
    """One dimension of a judge's reply; ``why`` is its justification, or ""."""

    id: str
    title: str
    score: float
    most: int
    good: bool
    why: str


@dataclass(frozen=True)
class JudgeSheet:
    """One reply of the judge: its scores by dimension (none if it is unreadable), and its text."""

    rows: list[SheetRow]
    raw: str
    positive: float | None = None
    negative: float | None = None


@dataclass(frozen=True)
class SampleView:
    """One text of a group.

    Attributes:
      name: ``completion 1`` or ``human reference``.
      scalar: the reward; None when the judgement failed (``failed`` says why) or there is none.
      components: components of the reward, before weights; diagnostics: words, target and so on.
      sheets: the judge's replies.
    """

    name: str
    is_human_reference: bool
    story: str
    thinking: str
    finish: str | None
    scalar: float | None
    failed: str | None
    advantage: float | None
    components: Mapping[str, Any]
    diagnostics: Mapping[str, Any]
    sheets: list[JudgeSheet]


@dataclass(frozen=True)
class GroupView:
    """A prompt and its texts, best reward first."""

    label: str
    uid: str
    prompt: str
    target_words: int | None
    samples: list[SampleView]


@dataclass(frozen=True)
class StepView:
    """The groups of a step that are shown, and the number of all groups."""

    step: int
    groups: list[GroupView] = field(default_factory=list)
    of: int = 0


def write_samples(
    path: str | os.PathLike, target: str | os.PathLike, *, steps: Sequence[int] = (), last: int = 3, groups: int = 6
) -> str:
    """Writes the page to ``target``, a file, local or gs://; returns its address.

    Args:
      path: the run's folder.
      steps: steps to show; default: the ``last`` recorded ones.
      groups: most groups per step.

    Raises:
      InputError: there is no run, or it has no such step.
    """
    workdir = run_folder(path)
    recorded = recorded_steps(workdir)
    if not recorded:
        raise InputError(
            "WORKDIR", workdir, "has no recorded samples (no steps/*.groups.json); is it a run of polaris rl?"
        )
    wanted = sorted(set(steps)) or recorded[-last:]
    missing = [step for step in wanted if step not in recorded]
    if missing:
        raise InputError("--steps", missing[0], f"is not recorded; there are steps {recorded[0]} to {recorded[-1]}")
    page = render(
        "samples.html", workdir=workdir, recorded=recorded, steps=[read_step(workdir, n, groups) for n in wanted]
    )
    storage.write(os.fspath(target), page.encode())
    return os.fspath(target)


def recorded_steps(workdir: str) -> list[int]:
    """The steps with a journal and a group record, ascending."""
    names = storage.names(storage.join(workdir, STEPS))
    records = {found[1] for name in names if (found := re.fullmatch(r"(\d+)\.groups\.json", name))}
    return sorted(int(stem) for stem in records if f"{stem}.jsonl" in names)


def read_step(workdir: str, step: int, most: int) -> StepView:
    """The first ``most`` groups of a recorded step."""
    stem = storage.join(workdir, STEPS, f"{step:06d}")
    content = storage.read_json(f"{stem}.groups.json") or {}
    lines = storage.read_lines(f"{stem}.jsonl")
    rollouts = {(one["task"], one["member"]): one for one in lines if one.get("kind") == "rollout"}
    rewards = {(one["task"], one["member"]): one for one in lines if one.get("kind") == "reward"}
    records = content.get("groups") or []
    return StepView(step, [_group(record, rollouts, rewards) for record in records[:most]], len(records))


def _group(record: Mapping[str, Any], rollouts: Mapping, rewards: Mapping) -> GroupView:
    label, advantages = record["group"], record.get("advantages") or {}
    members = sorted(member for task, member in {*rollouts, *rewards} if task == label)
    if record.get("reference") is not None and REFERENCE not in members:
        members.append(REFERENCE)
    samples = []
    for member in members:
        human, rollout, reward = member == REFERENCE, rollouts.get((label, member)), rewards.get((label, member))
        text = (record.get("reference") or "") if human else (rollout or {}).get("text", "")
        parts = split_thinking(text)
        breakdown = (reward or {}).get("reward") or {}
        judgement = (reward or {}).get("judgement") or {}
        samples.append(
            SampleView(
                name="human reference" if human else f"completion {member + 1}",
                is_human_reference=human,
                story=parts.story,
                thinking=parts.thoughts or "",
                finish=(rollout or {}).get("finish"),
                scalar=breakdown.get("scalar"),
                failed=breakdown.get("failed"),
                advantage=advantages.get(str(member)),
                components=breakdown.get("components") or {},
                diagnostics=breakdown.get("diagnostics") or {},
                sheets=[
                    *map(read_sheet, judgement.get("raw") or ()),
                    *(JudgeSheet([], raw) for raw in judgement.get("unusable") or ()),
                ],
            )
        )
    samples.sort(key=lambda one: (one.scalar is None, -(one.scalar or 0.0)))
    return GroupView(label, record["uid"], record["prompt"], record.get("target_words"), samples)


def read_sheet(raw: str) -> JudgeSheet:
    """Parses a reply: scores by dimension, with the judge's reasons."""
    try:
        scores = read_rubric_scores(raw)
        content = next((value for value in read_values(raw) if isinstance(value, dict)), {})
    except (InvalidJudgeReply, UnreadableReply):
        return JudgeSheet([], raw)
    rows = [
        SheetRow(d.id, d.title, scores.scores[d.id], d.most, d.sign > 0, _reason(content, d.stem)) for d in DIMENSIONS
    ]
    return JudgeSheet(rows, raw, scores.positive, scores.negative)


def _reason(content: Mapping[str, Any], stem: str) -> str:
    given = [content.get(f"{stem}_{part}") for part in ("justification", "target_excellence", "target_deficiency")]
    return next((text for text in given if isinstance(text, str)), "")
