"""The reward of a story: a judge's Story Quality, self-repetition, length, blankness, and their composition.

``score(story, prompt, ...)`` gives one response a ``RewardBreakdown``: a scalar within ±2, its components, and the
reason when judging failed and there is no scalar. ``open_judge(JudgeSpec(...))`` gives a judge: a language model with
the rubric, or the offline judge, which does not measure quality. ``TERMS`` lists the terms of the sum. ``RewardSpec``
holds every number; its defaults are the recipe's. ``released`` is the released trainer's reward, defects included.
"""

from polaris_jax.rewards.breakdown import RewardBreakdown
from polaris_jax.rewards.compose import score
from polaris_jax.rewards.judge import Judge, JudgeSpec, ModelJudge, judge_all, open_judge
from polaris_jax.rewards.judgement import Judgement, read_replies, read_stored
from polaris_jax.rewards.length import LengthSpec, LengthTarget, Tolerance, find_target, judge_length, requested_words
from polaris_jax.rewards.length_hiding import without_length_request
from polaris_jax.rewards.offline_judge import OfflineJudge
from polaris_jax.rewards.quality import QualitySpec, story_quality
from polaris_jax.rewards.repetition import RepetitionSpec, self_repetition
from polaris_jax.rewards.requested_length import LengthRequest, length_request
from polaris_jax.rewards.rubric_scores import InvalidJudgeReply, RubricScores, read_rubric_scores
from polaris_jax.rewards.spec import RewardSpec
from polaris_jax.rewards.terms import COMPONENTS, TERMS, WEIGHTS, RewardTerm
from polaris_jax.rewards.thinking import Response, TokenCounts, count_thought_tokens, split_thinking
from polaris_jax.rewards.word_count import count_characters, count_longwriter, count_words, word_pieces

__all__ = [
    "COMPONENTS",
    "TERMS",
    "WEIGHTS",
    "InvalidJudgeReply",
    "Judge",
    "JudgeSpec",
    "Judgement",
    "LengthRequest",
    "LengthSpec",
    "LengthTarget",
    "ModelJudge",
    "OfflineJudge",
    "QualitySpec",
    "RepetitionSpec",
    "Response",
    "RewardBreakdown",
    "RewardSpec",
    "RewardTerm",
    "RubricScores",
    "TokenCounts",
    "Tolerance",
    "count_characters",
    "count_longwriter",
    "count_thought_tokens",
    "count_words",
    "find_target",
    "judge_all",
    "judge_length",
    "length_request",
    "open_judge",
    "read_replies",
    "read_rubric_scores",
    "read_stored",
    "requested_words",
    "score",
    "self_repetition",
    "split_thinking",
    "story_quality",
    "without_length_request",
    "word_pieces",
]
