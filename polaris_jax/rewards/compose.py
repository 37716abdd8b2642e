"""``score``: the reward of one response (POLARIS §3.6), as intended by default."""

import logging
import statistics
from typing import Any

from polaris_jax.rewards.breakdown import RewardBreakdown
from polaris_jax.rewards.dimensions import DIMENSIONS
from polaris_jax.rewards.judgement import Judgement, read_stored
from polaris_jax.rewards.length import PROMPT, ROW, LengthTarget, find_target, judge_length
from polaris_jax.rewards.quality import story_quality
from polaris_jax.rewards.released import released_score
from polaris_jax.rewards.repetition import self_repetition
from polaris_jax.rewards.rubric import label
from polaris_jax.rewards.spec import RewardSpec
from polaris_jax.rewards.terms import COMPONENTS, QUALITY, MeasuredStory, measure, weighted
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
    is_human_reference: bool = False,
    human_reference_words: int = 0,
    as_released: bool = False,
) -> RewardBreakdown:
    """The reward of one response.

    Args:
      story: the decoded response without special tokens; its thinking is split off here.
      prompt: the request. The length it asks for (``length_request``) is the target, unless ``target_words`` is given.
      judgement: a judge's judgement of the story, or a stored reply in any form that ``read_stored`` reads. None means
        no judge; the reward then consists of the programmatic components.
      spec: the numbers; None is the recipe.
      tokens: token counts of the response, for the token penalties.
      is_human_reference: the response is the human story that is injected into the group (HRI).
      human_reference_words: words of that story: the target length when neither prompt nor row names one.
      as_released: the released trainer's arithmetic for a batch of this one row (``released``): the judge's totals are
        trusted, and a failed judgement scores 0.

    Raises:
      InputError: ``judgement`` holds no reply.
    """
    if as_released:
        return released_score(
            story, prompt, target_words, judgement, spec, tokens, is_human_reference, human_reference_words
        )
    return _score(
        story, prompt, target_words, judgement, spec or RewardSpec(), tokens, is_human_reference, human_reference_words
    )


def _score(
    story: str,
    prompt: str,
    given: int | None,
    judgement: Any,
    spec: RewardSpec,
    tokens: TokenCounts | None,
    is_human_reference: bool,
    human_reference_words: int,
) -> RewardBreakdown:
    response = split_thinking(story, opened=spec.thinking_opened)
    target = find_target(prompt, spec.length, given, human_reference_words)
    length = judge_length(response.story, target, spec.length)
    repetition = self_repetition(response.story, spec.repetition)
    measured = measure(MeasuredStory(response.story, prompt, repetition, length))
    components: dict[str, float | None] = dict.fromkeys(COMPONENTS) | measured
    diagnostics: dict[str, Any] = {
        "words": length.words,
        "target_words": target.words,
        "target_from": target.source,
        "target_guessed": target.guessed,
        "band": list(length.band),
        "thoughts": response.thoughts is not None,
        "repetition": {"ngrams": repetition.ngrams, "near": repetition.near, "lines": repetition.lines},
    }
    if not response.story.strip():
        # An empty story gets the minimum reward and costs no judge call.
        return RewardBreakdown(-spec.clip, None, components, diagnostics | {"no_story": True})
    if is_human_reference and spec.reference_best:
        return RewardBreakdown(spec.clip, None, components, diagnostics | {"reference_best": True})

    scalar = weighted(measured, spec)
    if judgement is not None and spec.quality_weight:
        judged = read_stored(judgement)
        quality = _quality(judged, spec, response.story, target, is_human_reference)
        diagnostics["quality"] = quality
        if judged.failed is not None:
            return RewardBreakdown(None, judged.failed, components, diagnostics)
        components[QUALITY.name] = quality["mean"]
        scalar += spec.quality_weight * quality["mean"]
    if tokens is not None:
        scalar -= _token_penalty(tokens, spec)
    return RewardBreakdown(min(max(scalar, -spec.clip), spec.clip), None, components, diagnostics)


def _quality(judged: Judgement, spec: RewardSpec, story: str, target: LengthTarget, is_human_reference: bool) -> dict:
    """Diagnostics of a judgement; ``mean`` over its replies is the component."""
    if judged.failed is not None:
        return {"failed": judged.failed, "detail": judged.detail, "judge": judged.judge}
    # Only a missed length that was requested disqualifies.
    asked = target if target.source in (ROW, PROMPT) else None
    results = [story_quality(one, spec.quality, story, asked, is_human_reference) for one in judged.rubric_scores]
    values = [value for value, _ in results]
    wrong = [one.disagreements for one in judged.rubric_scores]
    for disagreements in filter(None, wrong):
        _log.info("the judge's totals differ from the sums of its scores (stated, sum): %s", disagreements)
    return {
        "mean": statistics.fmean(values),
        "variance": statistics.variance(values) if len(values) > 1 else None,
        "samples": len(values),
        "unusable": len(judged.unusable),
        "scores": {dimension.id: judged.mean(dimension.id) for dimension in DIMENSIONS},
        "points": [result.points for _, result in results],
        "label": label(statistics.fmean(result.points for _, result in results)),
        "bonus_floored": [result.bonus_floored for _, result in results],
        "penalty_capped": [result.penalty_capped for _, result in results],
        "disqualified": [list(result.disqualified) for _, result in results],
        "disagreements": [{name: list(pair) for name, pair in found.items()} for found in wrong],
        "judge": judged.judge,
    }


def _token_penalty(tokens: TokenCounts, spec: RewardSpec) -> float:
    """Penalty for thoughts over the cap and for a response cut off near the limit, in units of reward."""
    penalty = spec.think_penalty if tokens.thoughts > spec.think_cap else 0.0
    start = spec.max_tokens - spec.overlong_buffer
    if not tokens.ended and tokens.total >= start:
        share = (tokens.total - start) / spec.overlong_buffer if spec.overlong_buffer else 1.0
        penalty += spec.overlong_penalty * min(share, 1.0)
    return penalty
