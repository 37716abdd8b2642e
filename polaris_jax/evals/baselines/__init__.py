"""What a person would try instead of training: prompting methods for long stories, over any ``llm`` client.

``METHODS`` maps names to functions ``(desk, prompt, words) -> text``, a page each: one prompt (``direct``),
Plan-and-Write, Re3, DOC, and a dynamic outline with memory. They share nothing but the ``Desk`` (asking for prose, for
lists, for ratings) and the rule of equal length (``full_length``): every story is continued, then cut.
``write_baselines`` writes JSONL that the benchmarks of ``polaris evaluate`` judge.
"""

from polaris_jax.evals.baselines.desk import Desk
from polaris_jax.evals.baselines.methods import METHODS
from polaris_jax.evals.baselines.writing import write_baselines

__all__ = ["METHODS", "Desk", "write_baselines"]
