"""Responses: completions and chat completions, whole or as the chunks of a stream."""

import codecs
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from polaris_jax.sampling import TokenEvent
from polaris_jax.sampling.request import PromptLogprobs
from polaris_jax.serving.requests import ParsedRequest

# Clients see no difference between the end of the grammar and an end token of the model.
REASONS = {"stop": "stop", "complete": "stop", "length": "length"}
LEAST_LOGPROB = -9999.0  # what OpenAI's API says for -inf, which is not JSON


@dataclass(frozen=True)
class Delta:
    """What one event adds to a text: its reply, thoughts, and log-probabilities if they were asked for."""

    text: str
    thoughts: str
    logprobs: list[dict[str, Any]]


@dataclass
class Choice:
    """One text of a response while it grows.

    Attributes:
      text, thoughts: so far; tokens: number generated, without end tokens; reason: why it ended, by OpenAI's names;
        begun: whether there was any event.
    """

    index: int
    parsed: ParsedRequest
    pieces: Sequence[bytes]
    ends: frozenset[int]
    text: str = ""
    thoughts: str = ""
    prompt: PromptLogprobs | None = None
    tokens: int = 0
    reason: str | None = None
    begun: bool = False
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0
        self._split = self.parsed.splitter.begin() if self.parsed.splitter else None

    def take(self, event: TokenEvent) -> Delta:
        """Adds an event; returns what is new."""
        self.begun = True
        thoughts, text = "", event.text
        if self._split:
            thoughts, text = self._split.push(event.text, last=event.finish_reason is not None)
        self.text += text
        self.thoughts += thoughts
        if event.finish_reason is not None:
            self.reason = REASONS[event.finish_reason]
        entries: list[dict[str, Any]] = []
        if event.prompt is not None:
            self.prompt = event.prompt
            entries = self._prompt_entries(event.prompt)
        if event.token is not None and not (event.token in self.ends and event.finish_reason == "stop"):
            self.tokens += 1
            if self.parsed.logprobs is not None:
                # A forced token was not sampled: its log-probability is 0.
                entries.append(self._entry(event.token, 0.0 if event.forced else event.model_logprob, event.top))
        self.logprobs += entries
        return Delta(text, thoughts, entries)

    def _prompt_entries(self, prompt: PromptLogprobs) -> list[dict[str, Any]]:
        """The repeated prompt's tokens under the model's own softmax; the first one has no log-probability."""
        if self.parsed.logprobs is None or not self.parsed.echo:
            return []
        tokens = self.parsed.requests[self.index].prompt
        first = self._entry(tokens[0], 0.0, ()) | {"logprob": None, "top_logprobs": None}
        scored = zip(tokens[1:], prompt.logprobs.tolist(), prompt.top, strict=True)
        count = self.parsed.logprobs
        return [first, *(self._entry(token, logprob, top[:count]) for token, logprob, top in scored)]

    def prompt_logprobs(self) -> list[dict[str, Any] | None]:
        """vLLM's field of that name: for each token of the prompt, the token itself and alternatives, by id."""
        assert self.prompt is not None
        tokens, scores = self.parsed.requests[self.index].prompt, self.prompt
        found: list[dict[str, Any] | None] = [None]
        for token, logprob, rank, top in zip(
            tokens[1:], scores.logprobs.tolist(), scores.ranks.tolist(), scores.top, strict=True
        ):
            named = {one: (value, place) for place, (one, value) in enumerate(top, 1)} | {token: (logprob, rank)}
            found.append(
                {
                    str(one): {
                        "logprob": max(value, LEAST_LOGPROB),
                        "rank": place,
                        "decoded_token": self.pieces[one].decode("utf-8", "replace"),
                    }
                    for one, (value, place) in named.items()
                }
            )
        return found

    def _entry(self, token: int, logprob: float, top: Sequence[tuple[int, float]]) -> dict[str, Any]:
        offset = self._characters
        self._characters += len(self._decoder.decode(self.pieces[token]))
        return self._token(token, logprob) | {"top_logprobs": [self._token(*pair) for pair in top], "offset": offset}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        piece = self.pieces[token]
        return {
            "token": piece.decode("utf-8", "replace"),
            "logprob": max(logprob, LEAST_LOGPROB),
            "bytes": list(piece),
        }


@dataclass(frozen=True)
class ResponseBuilder:
    """Builds the response to one request: its id, time and shape."""

    parsed: ParsedRequest
    chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The response in one piece."""
        frame = self._frame("chat.completion" if self.chat else "text_completion")
        body = frame | {"choices": [self._choice(choice) for choice in choices], "usage": self.usage(choices)}
        if self.chat and self.parsed.prompt_logprobs:
            body["prompt_logprobs"] = choices[0].prompt_logprobs()
        return body

    def first_chunk(self, choice: Choice) -> dict[str, Any] | None:
        """The first chunk of a choice: its role, or the prompt that it repeats."""
        if self.chat:
            return self._chunk(choice, {"role": "assistant", "content": ""}, [])
        echo = self._echo(choice)
        return self._chunk(choice, echo, []) if echo else None

    def chunk(self, choice: Choice, delta: Delta) -> dict[str, Any]:
        """The chunk of one event of a choice."""
        new: Any = delta.text
        if self.chat:
            fields = {"content": delta.text, "reasoning_content": delta.thoughts}
            new = {name: text for name, text in fields.items() if text}
        return self._chunk(choice, new, delta.logprobs)

    def usage_chunk(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The last chunk: the token counts of the whole stream."""
        frame = self._frame("chat.completion.chunk" if self.chat else "text_completion")
        return frame | {"choices": [], "usage": self.usage(choices)}

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Token counts of the request."""
        prompt, completion = self.parsed.prompt_tokens, sum(choice.tokens for choice in choices)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _frame(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.parsed.model}

    def _echo(self, choice: Choice) -> str:
        return self.parsed.echo[choice.index // self.parsed.n] if self.parsed.echo else ""

    def _choice(self, choice: Choice) -> dict[str, Any]:
        body = {"index": choice.index, "finish_reason": choice.reason, "logprobs": self._logprobs(choice.logprobs)}
        if self.chat:
            message = {"role": "assistant", "content": choice.text, "refusal": None}
            if self.parsed.splitter:
                message["reasoning_content"] = choice.thoughts or None
            return body | {"message": message}
        scored = {"prompt_logprobs": choice.prompt_logprobs()} if self.parsed.prompt_logprobs else {}
        return body | {"text": self._echo(choice) + choice.text} | scored

    def _chunk(self, choice: Choice, new: Any, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        body: dict[str, Any] = {"index": choice.index, "finish_reason": choice.reason}
        body |= {"logprobs": self._logprobs(logprobs) if logprobs else None, "delta" if self.chat else "text": new}
        frame = self._frame("chat.completion.chunk" if self.chat else "text_completion") | {"choices": [body]}
        return frame | ({"usage": None} if self.parsed.usage else {})

    def _logprobs(self, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
        if self.parsed.logprobs is None:
            return None
        if self.chat:
            kept = [{name: value for name, value in entry.items() if name != "offset"} for entry in entries]
            return {"content": kept, "refusal": None}
        return {
            "tokens": [entry["token"] for entry in entries],
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [
                None
                if entry["top_logprobs"] is None
                else {one["token"]: one["logprob"] for one in entry["top_logprobs"]}
                for entry in entries
            ]
            if self.parsed.logprobs
            else None,
            "text_offset": [entry["offset"] for entry in entries],
        }
