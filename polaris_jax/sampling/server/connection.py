"""The connection to one server: its engine, its model and window, and requests for text."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from polaris_jax.errors import InputError
from polaris_jax.llm.failures import AttemptFailed, CallFailed
from polaris_jax.llm.openai_transport import OpenAITransport, takes_temperature
from polaris_jax.llm.retry import RetryPolicy
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.llm.transport import extra
from polaris_jax.sampling.book_model import WindowFull
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.server.engines import ENGINES, ServerEngine, engine_of
from polaris_jax.trajectory import EOT, START
from polaris_jax.trajectory.grammar import Grammar

# What servers say when prompt and answer together are too long for their window.
_TOO_LONG = ("context_length_exceeded", "exceed_context_size", "maximum context length", "context size", "window is")


@dataclass(frozen=True)
class ServerReply:
    """The answer to one request.

    Attributes:
      text: the answer's text; cut: whether it ended at the token limit.
      prompt_tokens, tokens: the server's counts; if it gives none, 0 and the number of pieces in its stream.
      cached: tokens of the prompt that the server had read before.
    """

    text: str
    cut: bool
    prompt_tokens: int = 0
    tokens: int = 0
    cached: int = 0


class Connection:
    """A server whose engine, model and window are known.

    Args:
      spec: address, model, key and patience; the key is read from the environment only.
      engine: a name in ``ENGINES``; None asks the server.
      any_model: take the server's only model, whatever ``spec`` calls it.

    Attributes:
      model: the model's name in requests; engine; window: tokens that prompt and answer may have, None if unknown.

    Raises:
      InputError: nobody answers, there is no such model, or the key is missing or refused.
    """

    def __init__(self, spec: ClientSpec, engine: str | None = None, any_model: bool = False):
        self._spec, self._retry = spec, RetryPolicy(spec.attempts, spec.backoff)
        self._probe = RetryPolicy(min(spec.attempts, 2), spec.backoff)
        self._transport = OpenAITransport(spec)
        self._transport.ready()
        self._client = self._transport.client
        self._httpx = extra("httpx")
        listed = self._get("/models", "--server")
        self.engine: ServerEngine = ENGINES[engine or engine_of(listed, self._has_native_list())]
        known = {str(one.get("id")): one for one in listed.get("data") or ()}
        only = next(iter(known)) if len(known) == 1 else ""
        self.model = only if any_model else spec.model
        if not self.model or (known and self.model not in known):
            names = ", ".join(list(known)[:12]) or "it lists none"
            raise InputError("--model", None if any_model else spec.model, f"name a model of the server: {names}")
        self.window = self._window(known.get(self.model, {}))

    def count(self, text: str) -> int | None:
        """The number of a text's tokens by the server's tokenizer; None if the server cannot count."""
        if self.engine.tokenize is None:
            return None
        name, how = self.engine.tokenize
        body = {name: text, "model": self.model, **how}
        address = self._root + "/tokenize"
        answer = self._call(lambda: self._client.post(address, body=body, cast_to=object), self._retry)
        tokens = answer.get("tokens") if isinstance(answer, dict) else None
        return len(tokens) if isinstance(tokens, list) else None

    def ask(
        self,
        prompt: str | list[dict[str, str]],
        grammar: Grammar,
        options: SamplingOptions,
        *,
        seed: int,
        most: int,
        on_text: Callable[[str], bool],
        restart: Callable[[], None],
    ) -> ServerReply:
        """Streams the answer to one request.

        Args:
          prompt: a text to continue, or the messages of a chat.
          most: most tokens of the answer.
          on_text: receives the text as it arrives, and returns whether to go on; JSON answers arrive complete.
          restart: called when the request is repeated, and with it the text.

        Raises:
          CallFailed: no answer after all attempts.
          WindowFull: prompt and answer do not fit the server's window.
        """
        body = self._body(prompt, grammar, options, seed, most)

        def once(attempt: int) -> ServerReply:
            if attempt:
                restart()
            return self._stream(body, on_text)

        return self._retry.call(once)

    def _body(
        self, prompt: str | list[dict[str, str]], grammar: Grammar, options: SamplingOptions, seed: int, most: int
    ) -> dict[str, Any]:
        engine = self.engine
        own = engine.options(options)
        limit = "max_tokens"
        if not takes_temperature(self.model):
            own.pop("temperature", None)
            limit = "max_completion_tokens"
        else:
            own["seed"] = seed
        body: dict[str, Any] = {"model": self.model, limit: most, "stream": True, **own}
        body["stream_options"] = {"include_usage": True}
        body |= engine.bind(grammar) if engine.bind else {}
        if engine.chat:
            return body | {"messages": prompt}
        return body | {"prompt": prompt} | ({} if engine.bind else {"stop": [EOT, START]})

    def _stream(self, body: dict[str, Any], on_text: Callable[[str], bool]) -> ServerReply:
        path = "/chat/completions" if self.engine.chat else "/completions"
        text, cut, prompt_tokens, tokens, cached, pieces = "", False, 0, 0, 0, 0

        def start() -> Any:
            return self._client.post(path, body=body, cast_to=object, stream=True, stream_cls=self._stream_class)

        with contextlib.closing(self._call(start)) as stream:
            for chunk in self._chunks(stream):
                usage = chunk.get("usage") or {}
                prompt_tokens = int(usage.get("prompt_tokens") or prompt_tokens)
                tokens = int(usage.get("completion_tokens") or tokens)
                cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or cached)
                for choice in chunk.get("choices") or ():
                    new = (choice.get("delta") or {}).get("content") if self.engine.chat else choice.get("text")
                    cut = cut or choice.get("finish_reason") == "length"
                    if not new:
                        continue
                    text += new
                    pieces += 1
                    if not self.engine.form and not on_text(new):
                        return ServerReply(text, False, prompt_tokens, tokens or pieces, cached)
        return ServerReply(text, cut, prompt_tokens, tokens or pieces, cached)

    def _chunks(self, stream: Any) -> Any:
        """The events of a stream; one that breaks off is a failed attempt."""
        iterator = iter(stream)
        while True:
            failure = None
            try:
                chunk = next(iterator)
            except StopIteration:
                return
            except (self._transport.errors, self._httpx.HTTPError, ValueError) as error:
                failure = self._failure(error)
            if failure is not None:
                raise failure
            if isinstance(chunk, dict) and chunk.get("error"):
                raise AttemptFailed("server", str(chunk["error"])[:300], billed=True)
            yield chunk if isinstance(chunk, dict) else {}

    @property
    def _stream_class(self) -> Any:
        return extra("openai").Stream[object]

    @property
    def _root(self) -> str:
        """The address without ``/v1``."""
        return str(self._spec.base_url).removesuffix("/").removesuffix("/v1")

    def _window(self, listed: dict[str, Any]) -> int | None:
        if self.engine.name == "llama.cpp":
            props = self._get(self._root + "/props", None)
            return (props.get("default_generation_settings") or {}).get("n_ctx")
        found = listed.get("max_model_len") or listed.get("max_context_length")
        return int(found) if found else None

    def _has_native_list(self) -> bool:
        return "data" in self._get(self._root + "/api/v0/models", None)

    def _get(self, path: str, needed: str | None) -> dict[str, Any]:
        """The JSON object at a path. If the call fails: an error about the flag ``needed``, or {} if that is None."""
        failure = None
        try:
            answer = self._call(lambda: self._client.get(path, cast_to=object), self._probe)
            return answer if isinstance(answer, dict) else {}
        except CallFailed as error:
            failure = error
        if needed is None:
            return {}
        raise InputError(needed, self._spec.base_url, f"does not answer: {failure.detail}")

    def _call(self, call: Callable[[], Any], retry: RetryPolicy | None = None) -> Any:
        """Runs a call of the library, once or with retries; raises as ``ask`` does."""

        def attempt(number: int) -> Any:
            failure: Exception | None = None
            try:
                return call()
            except self._transport.errors as error:
                failure = self._failure(error)
            raise failure

        return attempt(0) if retry is None else retry.call(attempt)

    def _failure(self, error: Exception) -> Exception:
        """Translates an exception of the library, without keeping it: it may contain the key."""
        if isinstance(error, self._transport.errors):
            failure = self._transport.classify(error)
            if failure.kind == "bad_request" and any(words in failure.detail for words in _TOO_LONG):
                return WindowFull("--window", self.window, f"the server's window is full ({failure.detail[:160]})")
            return failure
        return AttemptFailed("connection", type(error).__name__, billed=True)


def server_address(url: str) -> str:
    """The address of the API: ``/v1`` is added if the URL names only a server."""
    return url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1")
