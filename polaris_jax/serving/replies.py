"""What goes back to a client: completions and chat completions, whole or as the chunks of a stream."""

import codecs
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from polaris_jax.sampling import TokenEvent
from polaris_jax.serving.requests import Asked, Served

# The grammar's end and the model's own are the same to a client.
REASONS = {"stop": "stop", "complete": "stop", "length": "length"}


@dataclass
class Choice:
    """One text of a reply while it grows.

    Attributes:
      text: so far; tokens: written, without end tokens; reason: why it ended, in OpenAI's words.
    """

    index: int
    asked: Asked
    pieces: Sequence[bytes]
    ends: frozenset[int]
    text: str = ""
    tokens: int = 0
    reason: str | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def take(self, event: TokenEvent) -> tuple[str, list[dict[str, Any]]]:
        """Adds an event; returns its new text and, if asked for, its token's log-probabilities."""
        self.text += event.text
        if event.finish_reason is not None:
            self.reason = REASONS[event.finish_reason]
        if event.token is None or (event.token in self.ends and event.finish_reason == "stop"):
            return event.text, []
        self.tokens += 1
        if self.asked.logprobs is None:
            return event.text, []
        entry = self._entry(event)
        self.logprobs.append(entry)
        return event.text, [entry]

    def _entry(self, event: TokenEvent) -> dict[str, Any]:
        """A token under the model's own softmax. A forced token was not drawn: it is certain (0)."""
        offset = self._characters
        self._characters += len(self._decoder.decode(self.pieces[event.token]))
        entry = self._token(event.token, 0.0 if event.forced else event.model_logprob)
        top = [self._token(token, logprob) for token, logprob in event.top]
        return entry | {"top_logprobs": top, "offset": offset}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        piece = self.pieces[token]
        # -inf is no JSON; clients of OpenAI's know -9999 as "never".
        return {"token": piece.decode("utf-8", "replace"), "logprob": max(logprob, -9999.0), "bytes": list(piece)}


@dataclass(frozen=True)
class Reply:
    """The frame of a reply: its id, time and shape."""

    asked: Asked
    served: Served
    chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The reply in one piece."""
        frame = self._frame("chat.completion" if self.chat else "text_completion")
        return frame | {"choices": [self._choice(choice) for choice in choices], "usage": self.usage(choices)}

    def opening(self, choice: Choice) -> dict[str, Any] | None:
        """The first chunk of a choice: its role, or the prompt it repeats."""
        if self.chat:
            return self._chunk(choice, {"role": "assistant", "content": ""}, [])
        echo = self._echo(choice)
        return self._chunk(choice, echo, []) if echo else None

    def chunk(self, choice: Choice, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        """What an event has added to a choice."""
        new: Any = text
        if self.chat:
            new = {"content": text} if text else {}
        return self._chunk(choice, new, logprobs)

    def closing(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The chunk with the counts of the whole stream."""
        frame = self._frame("chat.completion.chunk" if self.chat else "text_completion")
        return frame | {"choices": [], "usage": self.usage(choices)}

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        read, written = self.asked.prompt_tokens, sum(choice.tokens for choice in choices)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _frame(self, what: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {"id": f"{prefix}-{self.id}", "object": what, "created": self.created, "model": self.served.name}

    def _echo(self, choice: Choice) -> str:
        return self.asked.echo[choice.index // self.asked.n] if self.asked.echo else ""

    def _choice(self, choice: Choice) -> dict[str, Any]:
        said = {"index": choice.index, "finish_reason": choice.reason, "logprobs": self._logprobs(choice.logprobs)}
        if self.chat:
            return said | {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
        return said | {"text": self._echo(choice) + choice.text}

    def _chunk(self, choice: Choice, new: Any, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        said = {"index": choice.index, "finish_reason": choice.reason}
        said |= {"logprobs": self._logprobs(logprobs) if logprobs else None, "delta" if self.chat else "text": new}
        frame = self._frame("chat.completion.chunk" if self.chat else "text_completion") | {"choices": [said]}
        return frame | ({"usage": None} if self.asked.usage else {})

    def _logprobs(self, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
        if self.asked.logprobs is None:
            return None
        if self.chat:
            kept = [{name: value for name, value in entry.items() if name != "offset"} for entry in entries]
            return {"content": kept, "refusal": None}
        return {
            "tokens": [entry["token"] for entry in entries],
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [{one["token"]: one["logprob"] for one in entry["top_logprobs"]} for entry in entries]
            if self.asked.logprobs else None,
            "text_offset": [entry["offset"] for entry in entries],
        }  # fmt: skip
