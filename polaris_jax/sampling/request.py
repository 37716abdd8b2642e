"""The engine's input and output: a request, the events of its tokens, and its completion."""

from collections.abc import Mapping, Sequence
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
    """One text to continue.

    Attributes:
      prompt: token ids, at least one; the beginning-of-text token is up to the caller.
      options, seed: how tokens are sampled. A sample is a function of (text, options, seed, position).
      max_tokens: most tokens to generate, forced ones included.
      stop: strings that end the text; they may fall across tokens and are not part of it.
      stop_token_ids: ids that end the text, besides the tokenizer's end of turn and the model's own end tokens.
      ignore_eos: only ``stop``, ``stop_token_ids`` and the constraint end the text.
      constraint: a fresh one, which the engine advances.
      top_logprobs: how many of the model's most probable tokens to name beside each sampled one.
      logit_bias: id → number added to its logit, before every other option.
      prompt_logprobs: how many of the model's most probable tokens to name beside each token of the prompt; None: the
        prompt's log-probabilities are not wanted. With them ``max_tokens`` may be 0.
      adapter: name of the sampler's adapter that reads and continues the text; None: the base model alone.
      min_tokens: no end token is sampled before so many tokens, unless a constraint allows nothing else.
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
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    min_tokens: int = 0
    prompt_logprobs: int | None = None
    adapter: str | None = None

    def check(self, vocabulary: int, max_length: int) -> None:
        """Checks the request against the sizes of a model.

        Raises:
          InputError: it can never be served.
        """
        prompt = np.asarray(self.prompt)
        if prompt.ndim != 1 or not len(prompt) or not np.issubdtype(prompt.dtype, np.integer):
            raise InputError("prompt", self.prompt, "give at least one token id")
        if prompt.min() < 0 or prompt.max() >= vocabulary:
            raise InputError("prompt", int(prompt.max()), f"token ids lie between 0 and {vocabulary - 1}")
        if self.max_tokens < (self.prompt_logprobs is None):
            raise InputError("max_tokens", self.max_tokens, "must be at least 1")
        if len(prompt) + self.max_tokens > max_length:
            advice = f"with the prompt's {len(prompt)} tokens more than the {max_length} that a text may have"
            raise InputError("max_tokens", self.max_tokens, advice)
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise InputError("min_tokens", self.min_tokens, f"use 0 to max_tokens ({self.max_tokens})")
        for token, bias in self.logit_bias.items():
            if not 0 <= token < vocabulary:
                raise InputError("logit_bias", token, f"token ids lie between 0 and {vocabulary - 1}")
            if not np.isfinite(bias):
                raise InputError("logit_bias", bias, "use a finite number")
        if any(not string for string in self.stop):
            raise InputError("stop", self.stop, "a stop string cannot be empty")
        for name in ("top_logprobs", "prompt_logprobs"):
            if not 0 <= (getattr(self, name) or 0) <= MAX_TOP_LOGPROBS:
                raise InputError(name, getattr(self, name), f"use 0 to {MAX_TOP_LOGPROBS}")
        if self.constraint is not None and self.constraint.length:
            raise InputError("constraint", self.constraint.length, "has already been moved; give a fresh copy")


@dataclass(frozen=True, eq=False)
class PromptLogprobs:
    """The model's own log-probabilities of a prompt's tokens, without the first.

    Attributes:
      logprobs: ``[P - 1] float32`` (nats); ranks: ``[P - 1] int32``, 1 for the most probable token.
      top: ``(token, log-probability)`` of the most probable tokens per place, best first.
    """

    logprobs: np.ndarray
    ranks: np.ndarray
    top: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True)
class TokenEvent:
    """One token of one request, or its end.

    Attributes:
      request: what ``submit`` returned.
      token: None when the event only ends the request or releases text.
      text: text that is now final: whole characters, and nothing that may still become a stop string.
      logprob: nats, under the distribution it was sampled from (``SampledTokens.logprob``); 0 when forced.
      model_logprob: nats, under the model's own softmax; nan when forced.
      top: ``(token, its model_logprob)`` of the model's most probable tokens, best first; empty when forced.
      forced: the constraint left no choice.
      finish_reason: None while it goes on; ``stop`` (an end token, which is then ``token``, or a stop string),
        ``complete`` (the constraint lets nothing follow), ``length``, ``cancelled``, or ``failed`` (see ``error``).
      error: why it failed: the constraint gave up.
      prompt: log-probabilities of the prompt, if they were asked for, in the event that reports them; else None.
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
    prompt: PromptLogprobs | None = None


@dataclass(frozen=True)
class Completion:
    """A finished request.

    Attributes:
      tokens: the generated tokens, forced ones included, without the end token. They include those of a stop string;
        ``text`` ends before it.
      logprobs, model_logprobs: ``[T] float32`` (nats), forced: ``[T] bool``; top: per token; as in ``TokenEvent``.
      prompt: log-probabilities of the prompt, if they were asked for.
      stop_token: the end token that was sampled, with its log-probabilities; None and nan without one.
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
    prompt: PromptLogprobs | None = None

    @classmethod
    def of(cls, events: Sequence[TokenEvent], ends: frozenset[int]) -> "Completion":
        """Joins the events of one finished request; ``ends`` are its end tokens.

        Raises:
          ValueError: the last event does not end the request.
        """
        last = events[-1]
        if last.finish_reason is None:
            raise ValueError(f"request {last.request} has not ended")
        written = [event for event in events if event.token is not None]
        stop = None
        if last.finish_reason == "stop" and last.token in ends:
            stop = written.pop()
        return cls(
            last.request,
            tuple(event.token for event in written if event.token is not None),
            "".join(event.text for event in events),
            np.asarray([event.logprob for event in written], np.float32),
            np.asarray([event.model_logprob for event in written], np.float32),
            np.asarray([event.forced for event in written], bool),
            tuple(event.top for event in written),
            last.finish_reason,
            stop.token if stop else None,
            stop.logprob if stop else float("nan"),
            stop.model_logprob if stop else float("nan"),
            last.error,
            next((event.prompt for event in events if event.prompt is not None), None),
        )
