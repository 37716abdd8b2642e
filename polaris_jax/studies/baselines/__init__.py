"""Baselines: prompting methods for long stories, over any ``llm`` client, that a person would try instead of training.

``METHODS`` maps names to functions ``(client, prompt, words) -> text``: one prompt (``direct``), Plan-and-Write, Re3,
DOC, and a dynamic outline with memory. They share only the ``StoryClient`` (asks for prose, lists and ratings) and the
rule of equal length (``full_length``): every story is continued, then cut. ``write_baselines`` writes JSONL that the
benchmarks of ``polaris evaluate`` judge.
"""

from polaris_jax.studies.baselines.methods import METHODS
from polaris_jax.studies.baselines.story_client import StoryClient
from polaris_jax.studies.baselines.writing import write_baselines

__all__ = ["METHODS", "StoryClient", "write_baselines"]
