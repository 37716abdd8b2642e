"""From the fields of a checked body to what the engine is asked: texts as tokens, options, constraint."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llguidance import LLTokenizer

from polaris_jax.data import Tokenizer
from polaris_jax.sampling import Constraint, GenerationRequest, SamplingOptions
from polaris_jax.serving.chat import Prompts
from polaris_jax.serving.failures import bad
from polaris_jax.serving.limits import Limits


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
      name: what clients call it.
      tokenizer, vocabulary: its own, and as constraints want it.
      max_length: tokens a text may have, prompt included.
      prompts: how it wants to be spoken to.
    """

    name: str
    tokenizer: Tokenizer
    vocabulary: LLTokenizer
    max_length: int
    prompts: Prompts


@dataclass(frozen=True)
class Asked:
    """One body: a request per choice, and how the caller wants to hear of them.

    Attributes:
      requests: prompt by prompt, ``n`` of each.
      echo: text per prompt that the reply repeats, or empty.
      logprobs: number of alternatives per token, or None for no log-probabilities at all.
    """

    requests: tuple[GenerationRequest, ...]
    n: int
    echo: tuple[str, ...]
    logprobs: int | None
    stream: bool
    usage: bool

    @property
    def prompt_tokens(self) -> int:
        return sum(len(request.prompt) for request in self.requests[:: self.n])


def completion(body: Mapping[str, Any], served: Served, limits: Limits) -> Asked:
    """A text completion.

    Raises:
      ApiError, InputError: it asks for what cannot be done.
    """
    prompt = body["prompt"]
    prompts = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
    _count(len(prompts) * body.get("n", 1), limits)
    tokens = [_text(one, body, served) if isinstance(one, str) else list(one) for one in prompts]
    echo = [one if isinstance(one, str) else served.tokenizer.decode(one) for one in _in_range(prompts, served)]
    logprobs = body.get("logprobs")
    if body.get("echo") and logprobs is not None:
        raise bad("echo", "Log-probabilities of the prompt are not computed; leave out echo or logprobs.")
    room = body.get("max_tokens", 16)
    return _asked(body, tokens, echo if body.get("echo") else (), logprobs, room, (), (), served, limits)


def chat_completion(body: Mapping[str, Any], served: Served, limits: Limits) -> Asked:
    """A chat completion.

    Raises:
      ApiError, InputError: it asks for what cannot be done.
    """
    _count(body.get("n", 1), limits)
    tokens = served.prompts.chat([_message(message) for message in body["messages"]])
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in body]
    room = body[names[0]] if names else max(min(served.max_length - len(tokens), limits.tokens), 1)
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise bad("top_logprobs", "It needs logprobs: true.")
    logprobs = body.get("top_logprobs", 0) if body.get("logprobs") else None
    return _asked(body, [tokens], (), logprobs, room, *served.prompts.chat_stops, served, limits)


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    """A message as templates know it: one text, and no role that is younger than they are."""
    content = message["content"]
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    return {"role": "system" if message["role"] == "developer" else message["role"], "content": text}


def _asked(body, prompts, echo, logprobs, room, stop, stop_ids, served: Served, limits: Limits) -> Asked:
    if room > limits.tokens:
        raise bad("max_tokens", f"At most {limits.tokens} tokens may be written per text.")
    for tokens in prompts:
        if len(tokens) + room > served.max_length:
            message = f"The window is {served.max_length} tokens; the prompt has {len(tokens)} and asks for {room}."
            raise bad("max_tokens" if len(tokens) < served.max_length else None, message, "context_length_exceeded")
    own = body.get("stop", ())
    top_k = body.get("top_k", 0)
    seed = body["seed"] if "seed" in body else secrets.randbits(63)
    constraint = _constraint(body, served, limits)
    n = int(body.get("n", 1))
    base = GenerationRequest(
        prompt=(), max_tokens=int(room), ignore_eos=body.get("ignore_eos", False), top_logprobs=int(logprobs or 0),
        options=SamplingOptions(
            temperature=float(body.get("temperature", 1.0)), top_k=int(top_k) if top_k > 0 else 0,
            top_p=float(body.get("top_p", 1.0)), min_p=float(body.get("min_p", 0.0)),
            repetition_penalty=float(body.get("repetition_penalty", 1.0)),
        ),
        stop=(*((own,) if isinstance(own, str) else own), *stop),
        stop_token_ids=tuple(int(token) for token in (*body.get("stop_token_ids", ()), *stop_ids)),
    )  # fmt: skip
    requests = tuple(
        replace(base, prompt=[int(token) for token in tokens], seed=choice_seed(int(seed), i),
                constraint=constraint and constraint.copy())
        for tokens in prompts for i in range(n)
    )  # fmt: skip
    usage = (body.get("stream_options") or {}).get("include_usage", False)
    return Asked(requests, n, tuple(echo), logprobs, body.get("stream", False), usage)


def choice_seed(seed: int, choice: int) -> int:
    """Seed of the ``choice``-th text of a request, 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{choice}".encode()).digest()[:4], "little")


def _count(texts: int, limits: Limits) -> None:
    if texts > limits.choices:
        raise bad("n", f"{texts} texts are asked for at once; at most {limits.choices} are written per request.")


def _text(prompt: str, body: Mapping[str, Any], served: Served) -> list[int]:
    tokens = served.prompts.text(prompt, body.get("add_special_tokens"))
    if not tokens:
        raise bad("prompt", "The prompt is empty.")
    return tokens


def _in_range(prompts, served: Served):
    for prompt in prompts:
        if not isinstance(prompt, str) and max(prompt) >= served.tokenizer.vocab_size:
            raise bad("prompt", f"{max(prompt)} is no token id; they go up to {served.tokenizer.vocab_size - 1}.")
        yield prompt


def _constraint(body: Mapping[str, Any], served: Served, limits: Limits) -> Constraint | None:
    """What the text must be like, from whichever field says so."""
    form = body.get("response_format") or {"type": "text"}
    said: dict[str, Any] = {name: body[name] for name in ("regex", "guided_regex", "guided_json") if name in body}
    if form["type"] != "text":
        said["response_format"] = form
    if len(said) > 1:
        raise bad(sorted(said)[1], f"Only one of {', '.join(sorted(said))} can bind a text.")
    for name, value in said.items():
        if len(str(value)) > limits.schema_bytes:
            raise bad(name, f"is longer than {limits.schema_bytes} characters")
        if name in ("regex", "guided_regex"):
            return Constraint.regex(value, served.vocabulary)
        if name == "guided_json":
            return Constraint.json_schema(value, served.vocabulary)
        schema = {"type": "object"} if form["type"] == "json_object" else form["json_schema"]["schema"]
        return Constraint.json_schema(schema, served.vocabulary)
    return None
