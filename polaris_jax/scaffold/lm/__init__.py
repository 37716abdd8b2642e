"""The annotator that asks a language model: instructions and schemas beside the code that reads the answers.

``form`` is a question as data; ``fields`` what an answer may contain; ``faith`` whether it is true to the book;
``room`` what fits a context window; ``session`` asks, has repaired, falls back and keeps count. Then one module per
part of the plan: ``scenes``, ``cards``, ``arcs``, ``world``, ``pitch``, which ``annotator`` puts in order.
"""

from polaris_jax.scaffold.lm.annotator import LLMAnnotator
from polaris_jax.scaffold.lm.opening import AnnotatorSpec, open_annotator

__all__ = ["AnnotatorSpec", "LLMAnnotator", "open_annotator"]
