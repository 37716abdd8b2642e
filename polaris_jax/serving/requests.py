"""Turns a checked body into requests for the engine: prompt tokens, options, constraint."""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llguidance import LLTokenizer

from polaris_jax.data import Tokenizer
from polaris_jax.sampling import Constraint, DryOptions, GenerationRequest, SamplingOptions
from polaris_jax.serving.api_errors import invalid_request
from polaris_jax.serving.chat import PromptEncoder
from polaris_jax.serving.limits import Limits
from polaris_jax.serving.reasoning import ReasoningSplitter

_BINDING = ("regex", "guided_regex", "guided_json", "guided_grammar")


@dataclass(frozen=True)
class ServedModel:
    """The model that is served.

    Attributes:
      name: the model's name in requests and responses. root: its address.
      tokenizer: the model's; vocabulary: the same in the form that constraints need.
      max_length: most tokens of a text, prompt included.
      prompts: encodes what callers send.
      defaults: sampling fields of requests that leave them out (``sampling_defaults``).
      adapters: addresses of the adapters by name; a request that names one gets the model with it.
    """

    name: str
    tokenizer: Tokenizer
    vocabulary: LLTokenizer
    max_length: int
    prompts: PromptEncoder
    defaults: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""
    adapters: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may call the model: its own name, then the adapters'."""
        return (self.name, *self.adapters)


@dataclass(frozen=True)
class ParsedRequest:
    """A parsed body: one request per choice, and the form of the response.

    Attributes:
      model: the name that it asked for.
      requests: prompt by prompt, ``n`` of each.
      echo: the texts of the prompts, which the response repeats; or empty.
      logprobs: number of alternatives per token, or None for no log-probabilities at all.
      prompt_logprobs: whether the response has the field of that name.
      splitter: separates the thoughts from a reply; None: they stay in it.
      stream: whether to send chunks at once; usage: whether the stream ends with the token counts.
    """

    model: str
    requests: tuple[GenerationRequest, ...]
    n: int
    echo: tuple[str, ...]
    logprobs: int | None
    stream: bool
    usage: bool
    prompt_logprobs: bool = False
    splitter: ReasoningSplitter | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(len(request.prompt) for request in self.requests[:: self.n])


def completion(body: Mapping[str, Any], served: ServedModel, limits: Limits) -> ParsedRequest:
    """Parses a text completion.

    Raises:
      ApiError, InputError: it asks for something impossible.
    """
    prompt = body["prompt"]
    prompts = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
    _count(len(prompts) * body.get("n", 1), limits)
    tokens = [_text(one, body, served) if isinstance(one, str) else list(one) for one in prompts]
    echo = [one if isinstance(one, str) else served.tokenizer.decode(one) for one in _in_range(prompts, served)]
    logprobs = body.get("logprobs")
    most = body.get("max_tokens", 16)
    if not most and not body.get("echo") and "prompt_logprobs" not in body:
        raise invalid_request("max_tokens", "max_tokens: 0 needs echo or prompt_logprobs; use at least 1.")
    return _parse(body, tokens, echo if body.get("echo") else (), logprobs, most, (), (), served, limits)


def chat_completion(body: Mapping[str, Any], served: ServedModel, limits: Limits) -> ParsedRequest:
    """Parses a chat completion.

    Raises:
      ApiError, InputError: it asks for something impossible.
    """
    _count(body.get("n", 1), limits)
    tokens = served.prompts.chat(
        [_message(message) for message in body["messages"]],
        continue_final_message=body.get("continue_final_message", False),
        add_generation_prompt=body.get("add_generation_prompt"),
        variables=body.get("chat_template_kwargs"),
    )
    if not tokens:
        raise invalid_request("messages", "The chat template makes an empty prompt of them.")
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in body]
    most = body[names[0]] if names else max(min(served.max_length - len(tokens), limits.tokens), 1)
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise invalid_request("top_logprobs", "It needs logprobs: true.")
    logprobs = body.get("top_logprobs", 0) if body.get("logprobs") else None
    parsed = _parse(body, [tokens], (), logprobs, most, *served.prompts.chat_stops, served, limits)
    if not body.get("separate_reasoning", True):
        return parsed
    return replace(parsed, splitter=served.prompts.splitter(tokens))


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    """A message with one text, and with ``system`` for the newer role ``developer``."""
    content = message["content"]
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    thoughts = {"reasoning_content": message["reasoning_content"]} if "reasoning_content" in message else {}
    return {"role": "system" if message["role"] == "developer" else message["role"], "content": text, **thoughts}


def _parse(
    body: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    echo: Sequence[str],
    logprobs: int | None,
    most: int,
    stop: Sequence[str],
    stop_ids: Sequence[int],
    served: ServedModel,
    limits: Limits,
) -> ParsedRequest:
    if most > limits.tokens:
        raise invalid_request("max_tokens", f"At most {limits.tokens} tokens may be written per text.")
    for tokens in prompts:
        if len(tokens) + most > served.max_length:
            message = f"The window is {served.max_length} tokens; the prompt has {len(tokens)} and asks for {most}."
            raise invalid_request(
                "max_tokens" if len(tokens) < served.max_length else None, message, "context_length_exceeded"
            )
    if body.get("min_tokens", 0) > most:
        raise invalid_request("min_tokens", f"{body['min_tokens']} are more than the {most} of max_tokens.")
    if body.get("stream") and "prompt_logprobs" in body:
        raise invalid_request("prompt_logprobs", "prompt_logprobs: not with stream.")
    scored = [body["prompt_logprobs"]] if "prompt_logprobs" in body else []
    if body.get("echo") and (logprobs is not None or not most):
        scored.append(logprobs or 0)
    own = body.get("stop", ())
    body = {**served.defaults, **body}
    top_k = body.get("top_k", 0)
    seed = body["seed"] if "seed" in body else secrets.randbits(63)
    constraint = _constraint(body, served, limits)
    n, model = int(body.get("n", 1)), body.get("model", served.name)
    base = GenerationRequest(
        prompt=(),
        max_tokens=int(most),
        ignore_eos=body.get("ignore_eos", False),
        top_logprobs=int(logprobs or 0),
        options=SamplingOptions(
            temperature=float(body.get("temperature", 1.0)),
            top_k=int(top_k) if top_k > 0 else 0,
            top_p=float(body.get("top_p", 1.0)),
            min_p=float(body.get("min_p", 0.0)),
            repetition_penalty=float(body.get("repetition_penalty", 1.0)),
            presence_penalty=float(body.get("presence_penalty", 0.0)),
            frequency_penalty=float(body.get("frequency_penalty", 0.0)),
            typical_p=float(body.get("typical_p", 1.0)),
            xtc_probability=float(body.get("xtc_probability", 0.0)),
            xtc_threshold=float(body.get("xtc_threshold", 0.1)),
            dry=_dry(body),
        ),
        prompt_logprobs=int(max(scored)) if scored else None,
        logit_bias={int(token): float(bias) for token, bias in body.get("logit_bias", {}).items()},
        min_tokens=int(body.get("min_tokens", 0)),
        stop=(*((own,) if isinstance(own, str) else own), *stop),
        stop_token_ids=tuple(int(token) for token in (*body.get("stop_token_ids", ()), *stop_ids)),
        adapter=model if model in served.adapters else None,
    )
    requests = tuple(
        replace(
            base,
            prompt=[int(token) for token in tokens],
            seed=choice_seed(int(seed), i),
            constraint=constraint and constraint.copy(),
        )
        for tokens in prompts
        for i in range(n)
    )
    usage = (body.get("stream_options") or {}).get("include_usage", False)
    stream, named = body.get("stream", False), "prompt_logprobs" in body
    return ParsedRequest(model, requests, n, tuple(echo), logprobs, stream, usage, named)


def _dry(body: Mapping[str, Any]) -> DryOptions | None:
    if not body.get("dry_multiplier"):
        return None
    breakers = {"breakers": tuple(body["dry_sequence_breakers"])} if "dry_sequence_breakers" in body else {}
    return DryOptions(
        float(body["dry_multiplier"]),
        float(body.get("dry_base", 1.75)),
        int(body.get("dry_allowed_length", 2)),
        max(int(body.get("dry_penalty_last_n", -1)), 0),
        **breakers,
    )


def choice_seed(seed: int, choice: int) -> int:
    """Seed of the ``choice``-th text of a request, 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{choice}".encode()).digest()[:4], "little")


def _count(texts: int, limits: Limits) -> None:
    if texts > limits.choices:
        raise invalid_request(
            "n", f"{texts} texts are asked for at once; at most {limits.choices} are written per request."
        )


def _text(prompt: str, body: Mapping[str, Any], served: ServedModel) -> list[int]:
    tokens = served.prompts.text(prompt, body.get("add_special_tokens"))
    if not tokens:
        raise invalid_request("prompt", "The prompt is empty.")
    return tokens


def _in_range(prompts: Sequence[str | Sequence[int]], served: ServedModel) -> Iterator[str | Sequence[int]]:
    """The prompts; raises an ``ApiError`` if a token id does not exist."""
    for prompt in prompts:
        if not isinstance(prompt, str) and max(prompt) >= served.tokenizer.vocab_size:
            raise invalid_request(
                "prompt", f"{max(prompt)} is no token id; they go up to {served.tokenizer.vocab_size - 1}."
            )
        yield prompt


def _constraint(body: Mapping[str, Any], served: ServedModel, limits: Limits) -> Constraint | None:
    """The constraint on the text, from the one field that gives it."""
    form = body.get("response_format") or {"type": "text"}
    given: dict[str, Any] = {name: body[name] for name in _BINDING if name in body}
    if form["type"] != "text":
        given["response_format"] = form
    if len(given) > 1:
        raise invalid_request(sorted(given)[1], f"Only one of {', '.join(sorted(given))} can bind a text.")
    for name, value in given.items():
        if len(str(value)) > limits.schema_bytes:
            raise invalid_request(name, f"is longer than {limits.schema_bytes} characters")
        if name in ("regex", "guided_regex"):
            return Constraint.regex(value, served.vocabulary)
        if name == "guided_grammar":
            return Constraint.lark(value, served.vocabulary)
        if name == "guided_json":
            return Constraint.json_schema(value, served.vocabulary)
        schema = {"type": "object"} if form["type"] == "json_object" else form["json_schema"]["schema"]
        return Constraint.json_schema(schema, served.vocabulary)
    return None
