"""The annotator that asks a language model: instructions and schemas beside the code that reads the answers.

``question`` is a question as data; ``fields`` what an answer may contain; ``faithfulness`` whether it is true to the
book; ``context_budget`` what fits a context window; ``session`` asks, has answers corrected, falls back and keeps
count. Then one module per part of the plan: ``scenes``, ``cards``, ``arcs``, ``world``, ``pitch``, which ``annotator``
puts in order. ``forecast`` counts what they would cost.
"""

from polaris_jax.scaffold.llm.annotator import LLMAnnotator
from polaris_jax.scaffold.llm.forecast import ForecastClient

__all__ = ["ForecastClient", "LLMAnnotator"]
