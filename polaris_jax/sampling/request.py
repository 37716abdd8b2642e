"""What is asked of the engine, what it says while it works, and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import Constraint
from polaris_jax.sampling.options import SamplingOptions

FinishReason = Literal["stop", "complete", "length", "cancelled", "failed"]
MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True)
class GenerationRequest:
    """One text to be continued.

    Attributes:
      prompt: token ids, at least one; the beginning-of-text token is the caller's business.
      options, seed: how tokens are drawn. A draw is a function of (text, options, seed, position).
      max_tokens: tokens to write at most, forced ones included.
      stop: strings that end the text; they may fall across tokens and are not part of it.
      stop_token_ids: ids that end the text, besides the tokenizer's end of turn and the model's own end tokens.
      ignore_eos: only ``stop``, ``stop_token_ids`` and the constraint end the text.
      constraint: a fresh walker, which the engine moves along.
      top_logprobs: how many of the model's most probable tokens to name beside each drawn one.
    """

    prompt: Sequence[int]
    options: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    constraint: Constraint | None = None
    top_logprobs: int = 0

    def check(self, vocabulary: int, max_length: int) -> None:
        """Raises ``InputError`` for what a model with these sizes cannot do."""
        prompt = np.asarray(self.prompt)
        if prompt.ndim != 1 or not len(prompt) or not np.issubdtype(prompt.dtype, np.integer):
            raise InputError("prompt", self.prompt, "give at least one token id")
        if prompt.min() < 0 or prompt.max() >= vocabulary:
            raise InputError("prompt", int(prompt.max()), f"token ids lie between 0 and {vocabulary - 1}")
        if self.max_tokens < 1:
            raise InputError("max_tokens", self.max_tokens, "must be at least 1")
        if len(prompt) + self.max_tokens > max_length:
            advice = f"with the prompt's {len(prompt)} tokens more than the {max_length} that a text may have"
            raise InputError("max_tokens", self.max_tokens, advice)
        if any(not string for string in self.stop):
            raise InputError("stop", self.stop, "a stop string cannot be empty")
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise InputError("top_logprobs", self.top_logprobs, f"use 0 to {MAX_TOP_LOGPROBS}")
        if self.constraint is not None and self.constraint.length:
            raise InputError("constraint", self.constraint.length, "has already been moved; give a fresh copy")


@dataclass(frozen=True)
class TokenEvent:
    """One token of one request, or its end.

    Attributes:
      request: what ``submit`` returned.
      token: None when the event only ends the request or releases text.
      text: text that is now certain: whole characters, and nothing that may yet turn out to be a stop string.
      logprob: nats, under the distribution it was drawn from (``Drawn.logprob``); 0 when forced.
      model_logprob: nats, under the model's own softmax; nan when forced.
      top: ``(token, its model_logprob)`` of the model's most probable tokens, best first; empty when forced.
      forced: the constraint left no choice.
      finish_reason: None while it goes on; ``stop`` (an end token, which is then ``token``, or a stop string),
        ``complete`` (the constraint lets nothing follow), ``length``, ``cancelled``, or ``failed`` (see ``error``).
      error: why it failed: the constraint gave up.
    """

    request: int
    token: int | None
    text: str = ""
    logprob: float = 0.0
    model_logprob: float = float("nan")
    top: tuple[tuple[int, float], ...] = ()
    forced: bool = False
    finish_reason: FinishReason | None = None
    error: str = ""


@dataclass(frozen=True)
class Completion:
    """A finished request.

    Attributes:
      tokens: what was written, forced tokens included, without the end token. Tokens that spell a stop string are in
        it; ``text`` ends before them.
      logprobs, model_logprobs: ``[T] float32`` (nats), forced: ``[T] bool``; top: per token; as in ``TokenEvent``.
      stop_token: the end token that was drawn, with its log-probabilities; None and nan without one.
    """

    request: int
    tokens: tuple[int, ...]
    text: str
    logprobs: np.ndarray
    model_logprobs: np.ndarray
    forced: np.ndarray
    top: tuple[tuple[tuple[int, float], ...], ...]
    finish_reason: FinishReason
    stop_token: int | None
    stop_logprob: float
    stop_model_logprob: float
    error: str = ""

    @classmethod
    def of(cls, events: Sequence[TokenEvent], ends: frozenset[int]) -> "Completion":
        """Puts the events of one request together; ``ends`` are its end tokens."""
        last = events[-1]
        drawn = [event for event in events if event.token is not None]
        stop = None
        if last.finish_reason == "stop" and last.token in ends:
            stop = drawn.pop()
        return cls(
            last.request, tuple(event.token for event in drawn), "".join(event.text for event in events),
            np.asarray([event.logprob for event in drawn], np.float32),
            np.asarray([event.model_logprob for event in drawn], np.float32),
            np.asarray([event.forced for event in drawn], bool), tuple(event.top for event in drawn),
            last.finish_reason, stop and stop.token, stop.logprob if stop else float("nan"),
            stop.model_logprob if stop else float("nan"), last.error,
        )  # fmt: skip
