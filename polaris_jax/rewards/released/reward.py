"""The arithmetic of the released reward (POLARIS §3); ``score(..., as_released=True)`` is a batch of one row."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from polaris_jax.rewards.breakdown import RewardBreakdown
from polaris_jax.rewards.dimensions import DIMENSIONS, NEGATIVE
from polaris_jax.rewards.judgement import Judgement, read_stored
from polaris_jax.rewards.length import judge_length
from polaris_jax.rewards.quality import Overall, disqualification, overall
from polaris_jax.rewards.released.texts import count_words, length_target, read_object, requested_words, split_thinking
from polaris_jax.rewards.repetition import self_repetition
from polaris_jax.rewards.spec import RewardSpec
from polaris_jax.rewards.thinking import TokenCounts

THINK_REWARD_MODES = ("story_mean", "zero", "composite")
_N2, _N10 = NEGATIVE[1].score_key, NEGATIVE[9].score_key


@dataclass(frozen=True)
class ReleasedSpec:
    """``RewardSpec``, and switches that only the released trainer has.

    Attributes:
      override: derive the overall score from the judge's totals instead of using the judge's overall score.
      think_reward_mode, think_reward_scale: rewards of thought tokens; they do not reach the trainer.
    """

    reward: RewardSpec = field(default_factory=lambda: RewardSpec(think_penalty=0.05, overlong_penalty=1.0))
    override: bool = True
    think_reward_mode: str = "story_mean"
    think_reward_scale: float = 1.0


@dataclass(frozen=True)
class ReleasedQuality:
    """Story Quality as released.

    Attributes:
      value: the score, 0 without a usable number. valid: whether there was a usable number.
      error: the error of the call or the parser. timed_out: whether the call timed out.
      judge_overall: as the judge wrote it. overall: from the totals, when both were numbers.
      numbers: scores and totals of the reply that are numbers, by key.
    """

    value: float
    valid: bool
    error: str | None = None
    timed_out: bool = False
    judge_overall: float | None = None
    overall: Overall | None = None
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the row takes the mean of the other rows."""
        return bool(self.error or self.timed_out)


@dataclass(frozen=True)
class ReleasedRow:
    """One response of a batch, with its judge's reply, timeout or error.

    ``tokens`` is None for a response long enough for a story and short enough to get no penalty.
    """

    text: str
    prompt: str = ""
    reply: str | None = None
    timed_out: bool = False
    error: str | None = None
    tokens: TokenCounts | None = None
    is_human_reference: bool = False
    given_words: int | None = None
    human_reference_words: int = 0


@dataclass(frozen=True)
class ReleasedReward:
    """Components, the logged composite, the token rewards [width], and the scalar that the trainer gets."""

    components: dict[str, float]
    quality: ReleasedQuality
    composite: float
    token_rewards: np.ndarray
    scalar: float


def released_quality(
    reply: str | None,
    prompt: str = "",
    story: str = "",
    spec: ReleasedSpec = ReleasedSpec(),
    *,
    timed_out: bool = False,
    error: str | None = None,
    is_human_reference: bool = False,
) -> ReleasedQuality:
    """Story Quality of one reply, whose totals are trusted (POLARIS §3.3.3 - §3.3.5)."""
    if not reply:
        return ReleasedQuality(0.0, False, error, timed_out)
    try:
        content = read_object(reply)
    except ValueError as wrong:
        return ReleasedQuality(0.0, False, f"parse_json_failed:{wrong}", timed_out)
    numbers = {
        key: float(value)
        for key, value in content.items()
        if (key == "overall_score" or key.endswith(("_score", "_total"))) and _number(value)
    }
    quality = spec.reward.quality
    positive, negative = content.get("positive_total"), content.get("negative_total")
    bonus, penalty = (_first_number(content, f"{name}_total", f"{name}_score") for name in ("bonus", "penalty"))
    judge_overall = content.get("overall_score") if _number(content.get("overall_score")) else None
    points, derived = judge_overall, None
    if spec.override and _number(positive) and _number(negative):
        n2, n10 = numbers.get(_N2), numbers.get(_N10)
        requested = requested_words(prompt)
        share = len(story.split()) / requested if requested else None if requested is None else math.inf
        reasons = disqualification(n2, n10, share, quality, is_human_reference)
        derived = overall(float(positive), float(negative), bonus, penalty, quality, reasons)
        points = derived.points
    elif spec.override:
        error = error or "the totals that the overall score is derived from are missing"
    if quality.positive_only:
        points = positive + bonus - penalty if _number(positive) else None
    if points is None or not math.isfinite(points):
        return ReleasedQuality(0.0, False, error, timed_out, judge_overall, derived, numbers)
    return ReleasedQuality(points / quality.divisor, True, error, timed_out, judge_overall, derived, numbers)


def released_batch(
    rows: Sequence[ReleasedRow], width: int, spec: ReleasedSpec = ReleasedSpec()
) -> list[ReleasedReward]:
    """Rewards of the rows that one reward worker scores together (6 of 48 in the recipe).

    Args:
      width: of the response tensor, in tokens.
    """
    reward = spec.reward
    stories = [split_thinking(row.text).story for row in rows]
    qualities = [
        released_quality(
            row.reply,
            row.prompt,
            story,
            spec,
            timed_out=row.timed_out,
            error=row.error,
            is_human_reference=row.is_human_reference,
        )
        for row, story in zip(rows, stories, strict=True)
    ]
    good = [quality.value for quality in qualities if not quality.failed]
    all_human = all(row.is_human_reference for row in rows)
    rewards = []
    for row, story, quality in zip(rows, stories, qualities, strict=True):
        value = sum(good) / len(good) if quality.failed and good else quality.value
        target = length_target(row.prompt, reward.length, row.given_words, row.human_reference_words)
        length = judge_length(story, target, reward.length, count_words(story))
        repeated = self_repetition(story, reward.repetition).penalty
        components = {
            "story_quality": value,
            "self_rep": repeated,
            "length_pen": length.length_penalty,
            "blank_pen": length.blank_penalty,
            "length_reward": length.length_reward,
        }
        cost = (
            reward.repetition_weight * repeated
            + reward.length_weight * length.length_penalty
            + reward.blank_weight * length.blank_penalty
        )
        composite = _clip(
            reward.quality_weight * value + reward.length_reward_weight * length.length_reward - cost, reward.clip
        )
        tokens = row.tokens or TokenCounts(min(width, 1), 0 if story else min(width, 1))
        if row.is_human_reference and reward.reference_best:
            composite = reward.clip
            token_rewards = np.zeros(width, np.float32)
            token_rewards[: tokens.total] = reward.clip if all_human else 0.0
        else:
            token_rewards = _token_rewards(reward.quality_weight * value - cost, composite, tokens, width, spec)
        scalar = hand_off(token_rewards, tokens.total)
        rewards.append(ReleasedReward(components, quality, composite, token_rewards, scalar))
    return rewards


def hand_off(token_rewards: np.ndarray, attended: int) -> float:
    """The scalar that the trainer keeps from a row of token rewards: the last attended one, else the row's sum."""
    return float(token_rewards[attended - 1]) if attended > 0 else float(np.sum(token_rewards, dtype=np.float32))


def released_score(
    story: str,
    prompt: str,
    given: int | None,
    judgement: Any,
    spec: RewardSpec | None,
    tokens: TokenCounts | None,
    is_human_reference: bool,
    human_reference_words: int,
) -> RewardBreakdown:
    """``released_batch`` of one row in the form of the intended reward."""
    reply, timed_out, error = _stored(judgement)
    row = ReleasedRow(story, prompt, reply, timed_out, error, tokens, is_human_reference, given, human_reference_words)
    released = ReleasedSpec() if spec is None else ReleasedSpec(spec)
    result = released_batch([row], released.reward.max_tokens, released)[0]
    quality = result.quality
    components: dict[str, float | None] = dict(result.components)
    if judgement is None:
        components["story_quality"] = None
    diagnostics = {
        "as_released": True,
        "composite": result.composite,
        "error": quality.error,
        "valid": quality.valid,
        "judge_overall": quality.judge_overall,
        "points": None if quality.overall is None else quality.overall.points,
        "scores": {d.id: quality.numbers[d.score_key] for d in DIMENSIONS if d.score_key in quality.numbers},
    }
    return RewardBreakdown(result.scalar, None, components, diagnostics)


def _stored(judgement: Any) -> tuple[str | None, bool, str | None]:
    """``(reply, timed out, error)`` of any form that ``read_stored`` reads; the first of several samples."""
    if judgement is None:
        return None, False, None
    if isinstance(judgement, str):
        return judgement, False, None
    if isinstance(judgement, (list, tuple)) and len(judgement) == 3 and isinstance(judgement[1], bool):
        reply, timed_out, error = judgement
        if isinstance(reply, Mapping):
            reply = json.dumps(reply, ensure_ascii=False)
        read_stored(judgement)  # refuses anything that is not a reply
        return reply, timed_out, str(error)[:300] if error else None
    judged: Judgement = read_stored(judgement)
    replies = judged.raw + judged.unusable
    if replies:
        return replies[0], False, None
    return None, judged.failed == "timeout", judged.failed


def _token_rewards(
    story_scalar: float, composite: float, tokens: TokenCounts, width: int, spec: ReleasedSpec
) -> np.ndarray:
    """[width] float32: rewards of thought and story tokens as the paper intends them (POLARIS §3.6)."""
    reward, rewards = spec.reward, np.zeros(width, np.float32)
    total, thoughts = tokens.total, min(tokens.thoughts, tokens.total)
    if total == 0:
        return rewards
    of_story = total - thoughts
    scalar = np.float32(story_scalar)
    by_mode = {"story_mean": scalar if of_story else 0.0, "zero": 0.0, "composite": composite}
    rewards[:thoughts] = by_mode[spec.think_reward_mode] * spec.think_reward_scale
    rewards[thoughts:total] = scalar
    if thoughts > reward.think_cap:
        rewards[reward.think_cap : thoughts] -= np.float32(reward.think_penalty)
    over = total - (reward.max_tokens - reward.overlong_buffer)
    if reward.overlong_penalty and of_story and over >= 0 and not tokens.ended:
        share = min(-over / reward.overlong_buffer * reward.overlong_penalty, 0.0) if reward.overlong_buffer else -1.0
        rewards[thoughts:total] += np.float32(share / of_story)
    return np.nan_to_num(np.clip(rewards, -reward.clip, reward.clip), nan=0.0, posinf=0.0, neginf=0.0)


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float))


def _first_number(content: dict, *keys: str) -> float:
    return float(next((content[key] for key in keys if _number(content.get(key))), 0))


def _clip(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)
