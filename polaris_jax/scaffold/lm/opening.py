"""``open_annotator``: an annotator by its spec."""

from dataclasses import dataclass

from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec, open_client
from polaris_jax.scaffold.annotator import Annotator
from polaris_jax.scaffold.deterministic import DeterministicAnnotator
from polaris_jax.scaffold.lm.annotator import LLMAnnotator

KINDS = ("offline", "llm")
LEAST_CONTEXT = 3_072  # below, instructions and the longest answers leave no room for the book


@dataclass(frozen=True)
class AnnotatorSpec:
    """Who annotates, by name: can be pickled, logged and put in a config.

    Attributes:
      kind: ``offline`` (counting and rewriting, no model) or ``llm``.
      client: the model behind ``llm``.
      samples: independent draws per scene vector.
      temperature: of these draws.
      context_tokens: the model's context window, prompt and answer together.

    Raises:
      InputError: a field is out of range.
    """

    kind: str = "offline"
    client: ClientSpec | None = None
    samples: int = 4
    temperature: float = 0.7
    context_tokens: int = 8192

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError("kind", self.kind, f"one of {', '.join(KINDS)}")
        if (self.kind == "llm") != (self.client is not None):
            raise InputError("client", self.client, "an llm annotator needs one, the offline annotator takes none")
        if self.samples < 1:
            raise InputError("samples", self.samples, "at least 1")
        if self.temperature < 0:
            raise InputError("temperature", self.temperature, "0 or more")
        if self.context_tokens < LEAST_CONTEXT:
            raise InputError("context_tokens", self.context_tokens, f"at least {LEAST_CONTEXT}")


def open_annotator(spec: AnnotatorSpec) -> Annotator:
    """The annotator of a spec; close it when done.

    Raises:
      InputError: the client cannot be opened.
    """
    if spec.client is None:
        return DeterministicAnnotator()
    return LLMAnnotator(open_client(spec.client), spec.samples, spec.temperature, spec.context_tokens)
