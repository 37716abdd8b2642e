"""The annotator that asks a language model.

``question`` is a question as data. ``fields`` checks what an answer contains, ``faithfulness`` whether it is true to
the book. ``context_budget`` computes what fits a context window. ``session`` asks, has answers corrected, falls back
and counts. ``scenes``, ``cards``, ``arcs``, ``world`` and ``pitch`` each ask for one part of the plan; ``annotator``
calls them in order. ``forecast`` estimates the cost.
"""

from polaris_jax.scaffold.llm.annotator import LLMAnnotator
from polaris_jax.scaffold.llm.forecast import ForecastClient

__all__ = ["ForecastClient", "LLMAnnotator"]
