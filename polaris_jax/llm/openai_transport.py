"""Any server that speaks OpenAI's chat completions: the hosted service, vLLM, llama.cpp's server, gateways."""

import json
import re
from typing import Any

from polaris_jax.llm.failures import AttemptFailed, kind_of_status
from polaris_jax.llm.replies import clean_text
from polaris_jax.llm.request import Request, TokenLogprobs
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.llm.structured import is_strict, with_instruction
from polaris_jax.llm.transport import RawReply, counted, extra, read_key, redacted, retry_after

# OpenAI's reasoning models take neither a temperature nor a seed, and give no log-probabilities.
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}
_REASONING = re.compile(r"(o\d|gpt-[5-9])")


def takes_temperature(model: str) -> bool:
    """Whether a model, by its name, takes a temperature, a seed and ``max_tokens``."""
    return _REASONING.match(model.rsplit("/")[-1]) is None


class OpenAITransport:
    """One chat completion per call, with the ``openai`` library and without its own retries."""

    def __init__(self, spec: ClientSpec):
        self._spec = spec
        self._openai = extra("openai")
        self.client = self._openai.OpenAI(
            api_key=lambda: read_key(spec.key_variable),
            base_url=spec.base_url,
            timeout=spec.timeout,
            max_retries=0,
        )
        self.errors: type[Exception] = self._openai.OpenAIError

    def ready(self) -> None:
        """See ``Transport.ready``."""
        read_key(self._spec.key_variable)

    def send(self, request: Request) -> RawReply:
        """See ``Transport.send``."""
        failure, body = None, ""
        try:
            body = self.client.chat.completions.with_raw_response.create(**self.body(request)).http_response.text
        except self.errors as error:
            failure = self.classify(error)
        if failure is not None:  # raised here, so that no exception that holds the headers is chained to it
            raise failure
        return self.read(body)

    def close(self) -> None:
        """See ``Transport.close``."""
        self.client.close()

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body for ``request``."""
        messages = request.messages
        how: dict[str, Any] = {}
        structured = self._spec.structured
        if structured == "json_schema" and request.shared_prefix and self._spec.base_url is None:
            structured = (
                "json_object"  # the hosted service puts a schema before the messages, so no prefix would be shared
            )
        if request.schema is not None:
            if structured == "json_schema":
                schema = json.loads(request.schema)
                named = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
                how["response_format"] = {"type": "json_schema", "json_schema": named}
            else:
                messages = with_instruction(messages, request.schema)
            if structured == "json_object":
                how["response_format"] = {"type": "json_object"}
        if not takes_temperature(self._spec.model):
            how["max_completion_tokens"] = request.max_tokens
        else:
            # Every compatible server knows the older name of the limit.
            how |= {"max_tokens": request.max_tokens, "temperature": request.temperature}
            how |= {} if request.seed is None else {"seed": request.seed}
            how |= {"logprobs": True, "top_logprobs": request.logprobs} if request.logprobs else {}
        spec = self._spec
        dials = {"top_p": spec.top_p, "reasoning_effort": spec.effort, "service_tier": _TIERS.get(spec.tier or "")}
        how |= {name: value for name, value in dials.items() if value is not None}
        return {
            "model": self._spec.model,
            "messages": [{"role": role, "content": content} for role, content in messages],
            **how,
        }

    def classify(self, error: Exception) -> AttemptFailed:
        """The failure for an exception of ``errors``."""
        openai, variable = self._openai, self._spec.key_variable
        if isinstance(error, openai.APITimeoutError):
            return AttemptFailed("timeout", f"nothing within {self._spec.timeout:g} s", billed=True)
        if isinstance(error, openai.APIStatusError):
            status, code = error.status_code, error.code or ""
            kind = "quota" if code == "insufficient_quota" else kind_of_status(status)
            detail = redacted(f"HTTP {status} {error.message}", variable)
            no_model = status == 404 or code == "model_not_found"
            if kind == "bad_request" and self._spec.structured == "json_schema":
                detail = f"{detail[:240]} (structured={self._spec.structured})"
            return AttemptFailed(kind, detail, retry_after=retry_after(error.response.headers), hopeless=no_model)
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__
            # A refused connection cannot have cost anything; a cut one can.
            return AttemptFailed("connection", cause, billed=cause not in ("ConnectError", "ConnectTimeout"))
        return AttemptFailed("bad_request", redacted(str(error), variable))

    def read(self, body: str) -> RawReply:
        """The reply in a chat completion's JSON text; raises ``AttemptFailed`` for any other text."""
        try:
            content = json.loads(body)
            if content.get("error"):  # some gateways send errors with status 200
                detail = redacted(json.dumps(content["error"]), self._spec.key_variable)
                raise AttemptFailed("server", detail)
            choice, usage = content["choices"][0], content.get("usage") or {}
            message, finish = choice["message"], choice.get("finish_reason")
            refused = finish == "content_filter" or bool(message.get("refusal"))
            return RawReply(
                text=clean_text(_text(message.get("content"))),
                model=str(content.get("model") or ""),
                prompt_tokens=counted(usage.get("prompt_tokens")),
                completion_tokens=counted(usage.get("completion_tokens")),
                finish="refused" if refused else "length" if finish == "length" else "stop",
                cached_tokens=counted((usage.get("prompt_tokens_details") or {}).get("cached_tokens")) or 0,
                logprobs=_logprobs(choice.get("logprobs")),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            detail = redacted(f"the body is not a chat completion: {body[:200]!r}", self._spec.key_variable)
        raise AttemptFailed("invalid_json", detail, billed=True)


def _logprobs(given: Any) -> TokenLogprobs:
    """The alternatives of each token of a choice."""
    return tuple(
        (clean_text(one["token"]), tuple((clean_text(o["token"]), float(o["logprob"])) for o in one["top_logprobs"]))
        for one in (given or {}).get("content") or ()
    )


def _text(content: Any) -> str:
    """The text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError(type(content).__name__)
    return content or ""
