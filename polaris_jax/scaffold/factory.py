"""``open_annotator``: opens the offline annotator, or one that asks a model."""

from dataclasses import dataclass

from polaris_jax.errors import InputError
from polaris_jax.llm import ModelOrOfflineSpec, open_client
from polaris_jax.options import AT_LEAST_1, NOT_NEGATIVE, Bounds, option
from polaris_jax.scaffold.annotator import Annotator
from polaris_jax.scaffold.llm import LLMAnnotator
from polaris_jax.scaffold.offline import OfflineAnnotator

LEAST_CONTEXT = 3_072  # in a smaller window, instructions and the longest answers leave no room for the book


@dataclass(frozen=True)
class AnnotatorSpec(ModelOrOfflineSpec):
    """Names an annotator; can be pickled, logged and put in a config."""

    samples: int = option(4, bounds=AT_LEAST_1, doc="independent samples per scene vector")
    temperature: float = option(0.7, bounds=NOT_NEGATIVE, doc="temperature of these samples")
    context_tokens: int = option(
        8192,
        bounds=Bounds(f"at least {LEAST_CONTEXT}", least=LEAST_CONTEXT),
        doc="the model's context window, prompt and answer together; from 32768 on the book is sent whole, or in the "
        "largest runs of chapters that fit, and far fewer calls are made",
    )
    thinking_tokens: int = option(
        0,
        bounds=Bounds("0 or more", least=0),
        doc="tokens for the model's thinking, added to those for each answer",
    )
    stop_after: int = option(
        16,
        bounds=AT_LEAST_1,
        execution=True,
        doc="stop if none of the model's first calls, this many, gives a usable answer",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context_tokens - self.thinking_tokens < LEAST_CONTEXT:
            advice = f"leaves less than {LEAST_CONTEXT} of the {self.context_tokens} tokens of context_tokens"
            raise InputError("thinking_tokens", self.thinking_tokens, advice)


def open_annotator(spec: AnnotatorSpec) -> Annotator:
    """The annotator of a spec; close it when done.

    Raises:
      InputError: the client cannot be opened.
    """
    if spec.client is None:
        return OfflineAnnotator()
    client = open_client(spec.client, stop_after=spec.stop_after)
    return LLMAnnotator(client, spec.samples, spec.temperature, spec.context_tokens, spec.thinking_tokens)
