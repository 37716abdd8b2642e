"""``score``: the reward of one response (POLARIS §3.6), as intended by default."""

import logging
import statistics
from typing import Any

from polaris_jax.rewards.breakdown import COMPONENTS, RewardBreakdown, penalties
from polaris_jax.rewards.dimensions import DIMENSIONS
from polaris_jax.rewards.judgement import Judgement, of_stored
from polaris_jax.rewards.length import judge_length, length_target, requested_words
from polaris_jax.rewards.quality import story_quality
from polaris_jax.rewards.released import released_score
from polaris_jax.rewards.repetition import self_repetition
from polaris_jax.rewards.rubric import label
from polaris_jax.rewards.spec import RewardSpec
from polaris_jax.rewards.thinking import TokenCounts, split_thinking

_log = logging.getLogger(__name__)


def score(
    story: str,
    prompt: str = "",
    target_words: int | None = None,
    *,
    judgement: Judgement | str | dict | list | None = None,
    spec: RewardSpec | None = None,
    tokens: TokenCounts | None = None,
    is_reference: bool = False,
    reference_words: int = 0,
    as_released: bool = False,
) -> RewardBreakdown:
    """The reward of one response.

    Args:
      story: the decoded response without special tokens; its thinking is split off here.
      prompt: the request; ``N words long`` in it is the target unless ``target_words`` names one.
      judgement: of the story: a judge's, or a stored reply in any form that ``of_stored`` reads. None: nobody judged,
        and the reward is the programmatic components alone.
      spec: the numbers; None is the recipe.
      tokens: the response in tokens, for the token penalties.
      is_reference: a human's story.
      reference_words: of the reference story, the target when neither prompt nor row has one.
      as_released: the released trainer's arithmetic for a batch of this one row (``released``): totals trusted, a
        failure is a score, 0.

    Raises:
      InputError: ``judgement`` is nothing that holds a reply.
    """
    if as_released:
        return released_score(story, prompt, target_words, judgement, spec, tokens, is_reference, reference_words)
    return _score(story, prompt, target_words, judgement, spec or RewardSpec(), tokens, is_reference, reference_words)


def _score(story, prompt, given, judgement, spec, tokens, is_reference, reference_words) -> RewardBreakdown:
    response = split_thinking(story, opened=spec.thinking_opened)
    target = length_target(prompt, spec.length, given, reference_words)
    length = judge_length(response.story, target, spec.length)
    repetition = self_repetition(response.story, spec.repetition)
    components: dict[str, float | None] = dict.fromkeys(COMPONENTS)
    components |= {"self_rep": repetition.penalty, "length_pen": length.length_penalty,
                   "blank_pen": length.blank_penalty, "length_reward": length.length_reward}  # fmt: skip
    diagnostics: dict[str, Any] = {
        "words": length.words, "target_words": target, "band": list(length.band),
        "thoughts": response.thoughts is not None,
        "repetition": {"ngrams": repetition.ngrams, "near": repetition.near, "lines": repetition.lines},
    }  # fmt: skip
    if not response.story.strip():
        # No story: the lowest reward there is, so that thinking for ever never pays. Nobody needs to judge that.
        return RewardBreakdown(-spec.clip, None, components, diagnostics | {"no_story": True})
    if is_reference and spec.reference_best:
        return RewardBreakdown(spec.clip, None, components, diagnostics | {"reference_best": True})

    scalar = spec.length_reward_weight * length.length_reward - penalties(components, spec)
    if judgement is not None and spec.quality_weight:
        judged = of_stored(judgement)
        requested = given if given else requested_words(prompt)
        quality = _quality(judged, spec, response.story, requested, is_reference)
        diagnostics["quality"] = quality
        if judged.failed is not None:
            return RewardBreakdown(None, judged.failed, components, diagnostics)
        components["story_quality"] = quality["mean"]
        scalar += spec.quality_weight * quality["mean"]
    if tokens is not None:
        scalar -= _token_penalty(tokens, spec)
    return RewardBreakdown(min(max(scalar, -spec.clip), spec.clip), None, components, diagnostics)


def _quality(judged: Judgement, spec: RewardSpec, story: str, target: int | None, is_reference: bool) -> dict:
    """Diagnostics of a judgement; ``mean`` over its sheets is the component."""
    if judged.failed is not None:
        return {"failed": judged.failed, "detail": judged.detail, "judge": judged.judge}
    results = [story_quality(sheet, spec.quality, story, target, is_reference) for sheet in judged.sheets]
    values = [value for value, _ in results]
    wrong = [sheet.disagreements for sheet in judged.sheets]
    for disagreements in filter(None, wrong):
        _log.info("the judge's totals disagree with its scores (said, added up): %s", disagreements)
    return {
        "mean": statistics.fmean(values),
        "variance": statistics.variance(values) if len(values) > 1 else None,
        "samples": len(values), "unusable": len(judged.unusable),
        "scores": {dimension.id: judged.mean(dimension.id) for dimension in DIMENSIONS},
        "points": [result.points for _, result in results],
        "label": label(statistics.fmean(result.points for _, result in results)),
        "bonus_floored": [result.bonus_floored for _, result in results],
        "penalty_capped": [result.penalty_capped for _, result in results],
        "disqualified": [list(result.disqualified) for _, result in results],
        "disagreements": [{name: list(pair) for name, pair in found.items()} for found in wrong],
        "judge": judged.judge,
    }  # fmt: skip


def _token_penalty(tokens: TokenCounts, spec: RewardSpec) -> float:
    """Thoughts over the cap, and a response cut off near the limit; in units of reward."""
    penalty = spec.think_penalty if tokens.thoughts > spec.think_cap else 0.0
    start = spec.max_tokens - spec.overlong_buffer
    if not tokens.ended and tokens.total >= start:
        share = (tokens.total - start) / spec.overlong_buffer if spec.overlong_buffer else 1.0
        penalty += spec.overlong_penalty * min(share, 1.0)
    return penalty
