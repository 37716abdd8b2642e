"""Google's Gemini models through the ``google-genai`` library."""

import json
from typing import Any

from polaris_jax.llm.failures import AttemptFailed, kind_of_status
from polaris_jax.llm.replies import clean_text
from polaris_jax.llm.request import Request
from polaris_jax.llm.spec import SAFETY, ClientSpec
from polaris_jax.llm.structured import with_instruction
from polaris_jax.llm.transport import NO_KEY, RawReply, extra, read_key, redacted, retry_after

_HARMS = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
_STOPPED = ("STOP", "FINISH_REASON_UNSPECIFIED", "")


class GeminiTransport:
    """One ``generateContent`` of the Gemini API per call, without the library's own retries."""

    def __init__(self, spec: ClientSpec):
        self._spec = spec
        self._genai = extra("google.genai")
        self._types = self._genai.types
        options = self._types.HttpOptions(base_url=spec.base_url, timeout=int(spec.timeout * 1000))
        # The real key is read at every call and sent as a header.
        self._client = self._genai.Client(vertexai=False, api_key=NO_KEY, http_options=options)

    def ready(self) -> None:
        """See ``Transport.ready``."""
        read_key(self._spec.key_variable)

    def send(self, request: Request) -> RawReply:
        """See ``Transport.send``."""
        failure = response = None
        try:
            response = self._generate(request)
        except self._genai.errors.APIError as error:
            failure = self._of_status(error)
        except Exception as error:  # the library does not catch errors of its HTTP library and its parser
            failure = self._of_network(error)
        if failure is not None:  # raised here, so that no exception that holds the headers is chained to it
            raise failure
        return _read_response(response, self._spec.model)

    def close(self) -> None:
        """See ``Transport.close``."""
        self._client.close()

    def _generate(self, request: Request) -> Any:
        messages = request.messages
        how: dict[str, Any] = {}
        if request.schema is not None and self._spec.structured != "json_schema":
            messages = with_instruction(messages, request.schema)
        if request.schema is not None and self._spec.structured != "prompt":
            how["response_mime_type"] = "application/json"
        if request.schema is not None and self._spec.structured == "json_schema":
            how["response_json_schema"] = json.loads(request.schema)
        how |= self._dials()
        systems = [content for role, content in messages if role == "system"]
        turns = [
            {"role": "model" if role == "assistant" else "user", "parts": [{"text": content}]}
            for role, content in messages
            if role != "system"
        ]
        config = self._types.GenerateContentConfig(
            system_instruction="\n\n".join(systems) or None,
            temperature=request.temperature,
            max_output_tokens=request.max_tokens,
            seed=request.seed,
            http_options=self._types.HttpOptions(headers={"x-goog-api-key": read_key(self._spec.key_variable)}),
            **how,
        )
        return self._client.models.generate_content(model=self._spec.model, contents=turns, config=config)

    def _dials(self) -> dict[str, Any]:
        spec, types = self._spec, self._types
        dials: dict[str, Any] = {} if spec.top_p is None else {"top_p": spec.top_p}
        if spec.effort is not None:
            dials["thinking_config"] = types.ThinkingConfig(thinking_level=spec.effort.upper())
        if spec.tier is not None:
            dials["service_tier"] = spec.tier
        if spec.safety is not None:
            dials["safety_settings"] = [
                types.SafetySetting(category=f"HARM_CATEGORY_{name}", threshold=SAFETY[spec.safety]) for name in _HARMS
            ]
        return dials

    def _of_status(self, error: Any) -> AttemptFailed:
        detail = redacted(f"HTTP {error.code} {error.message or error.status}", self._spec.key_variable)
        kind = "auth" if "API_KEY_INVALID" in str(error.details) else kind_of_status(error.code)
        wait = _retry_delay(error.details)
        if wait is None and error.response is not None:
            wait = retry_after(error.response.headers)
        return AttemptFailed(kind, detail, retry_after=wait, hopeless=error.code == 404)

    def _of_network(self, error: Exception) -> AttemptFailed:
        # httpx or its fork httpx2 may be installed; both share these class names.
        names = {cls.__name__ for cls in type(error).__mro__}
        billed = not names & {"ConnectError", "ConnectTimeout"}
        if "TimeoutException" in names:
            return AttemptFailed("timeout", f"nothing within {self._spec.timeout:g} s", billed=billed)
        if "TransportError" in names:
            return AttemptFailed("connection", type(error).__name__, billed=billed)
        if names & {"JSONDecodeError", "UnknownApiResponseError", "ValidationError", "RecursionError"}:
            return AttemptFailed("invalid_json", "the body is not a Gemini response", billed=True)
        raise error


def _read_response(response: Any, model: str) -> RawReply:
    candidate = response.candidates[0] if response.candidates else None
    reason = candidate.finish_reason.name if candidate is not None and candidate.finish_reason else ""
    parts = (candidate.content.parts or []) if candidate is not None and candidate.content else []
    blocked = response.prompt_feedback is not None and response.prompt_feedback.block_reason is not None
    finish = "stop" if reason in _STOPPED else "length" if reason == "MAX_TOKENS" else "refused"
    usage = response.usage_metadata
    hidden = (usage.thoughts_token_count or 0) if usage is not None else 0
    shown = usage.candidates_token_count if usage is not None else None
    return RawReply(
        text=clean_text("".join(part.text for part in parts if part.text and not part.thought)),
        model=response.model_version or model,
        prompt_tokens=usage.prompt_token_count if usage is not None else None,
        completion_tokens=None if shown is None and not hidden else (shown or 0) + hidden,
        finish="refused" if blocked else finish,
        cached_tokens=(usage.cached_content_token_count or 0) if usage is not None else 0,
    )


def _retry_delay(details: Any) -> float | None:
    """Seconds in the ``google.rpc.RetryInfo`` of an error body; None if it has none."""
    try:
        for detail in details["error"]["details"]:
            if detail.get("@type", "").endswith("google.rpc.RetryInfo"):
                return float(detail["retryDelay"].removesuffix("s"))
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return None
