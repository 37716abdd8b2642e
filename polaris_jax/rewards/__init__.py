"""What a story is worth: a judge's Story Quality, self-repetition, length, blankness, and their composition.

``score(story, prompt, ...)`` gives one response a ``RewardBreakdown``: a scalar within ±2, its components, and why
there is none when judging failed. ``open_judge(JudgeSpec(...))`` gives a judge: a language model with the rubric, or
the offline one, which is no measure of quality. ``RewardSpec`` holds every number; the defaults are the recipe's.
``as_released=True`` and ``released`` repeat the released trainer, defects included, for comparison.
"""

from polaris_jax.rewards.breakdown import COMPONENTS, RewardBreakdown
from polaris_jax.rewards.compose import score
from polaris_jax.rewards.judge import Judge, JudgeSpec, ModelJudge, judge_all, open_judge
from polaris_jax.rewards.judgement import Judgement, of_stored, read_replies
from polaris_jax.rewards.length import LengthSpec, Tolerance, judge_length, requested_words, without_length_request
from polaris_jax.rewards.offline_judge import OfflineJudge
from polaris_jax.rewards.quality import QualitySpec, story_quality
from polaris_jax.rewards.repetition import RepetitionSpec, self_repetition
from polaris_jax.rewards.sheet import BadSheet, ScoreSheet, read_sheet
from polaris_jax.rewards.spec import RewardSpec
from polaris_jax.rewards.thinking import Response, TokenCounts, count_thought_tokens, split_thinking

__all__ = [
    "COMPONENTS",
    "BadSheet",
    "Judge",
    "JudgeSpec",
    "Judgement",
    "LengthSpec",
    "ModelJudge",
    "OfflineJudge",
    "QualitySpec",
    "RepetitionSpec",
    "Response",
    "RewardBreakdown",
    "RewardSpec",
    "ScoreSheet",
    "TokenCounts",
    "Tolerance",
    "count_thought_tokens",
    "judge_all",
    "judge_length",
    "of_stored",
    "open_judge",
    "read_replies",
    "read_sheet",
    "requested_words",
    "score",
    "self_repetition",
    "split_thinking",
    "story_quality",
    "without_length_request",
]
