"""What a request may say, as JSON schemas: the check of every body and the published document come from here.

Unknown fields are refused: an option that is silently ignored is a wrong answer. Fields of OpenAI's that have no
meaning here are accepted where ignoring them changes nothing, and otherwise only with the value that is off.
"""

import json
from functools import cache
from typing import Any

import jsonschema

from polaris_jax.serving.failures import ApiError, bad

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
ID = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
IDS = {"type": "array", "items": ID, "minItems": 1}
OFF = {"enum": [0], "description": "accepted when off (0)"}
IGNORED = {"description": "accepted, without effect"}
STOP = {"type": "string", "minLength": 1, "maxLength": 1000}

RESPONSE_FORMAT = {
    "oneOf": [
        {
            "type": "object", "required": ["type"], "additionalProperties": False,
            "properties": {"type": {"enum": ["text", "json_object"]}},
        },
        {
            "type": "object", "required": ["type", "json_schema"], "additionalProperties": False,
            "properties": {
                "type": {"const": "json_schema"},
                "json_schema": {
                    "type": "object", "required": ["schema"], "additionalProperties": False,
                    "properties": {
                        "name": TEXT, "description": TEXT, "strict": {"type": ["boolean", "null"]},
                        "schema": {"type": "object"},
                    },
                },
            },
        },
    ]
}  # fmt: skip

COMMON = {
    "model": {"type": "string", "description": "the name that /v1/models gives"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 100, "default": 1.0},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1.0},
    "top_k": {"type": "integer", "minimum": -1, "maximum": 2**31 - 1, "default": 0, "description": "0 or -1: off"},
    "min_p": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
    "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "default": 1.0},
    "seed": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1, "description": "the same seed, the same "
             "text; choice i of a request draws from a seed of its own"},
    "n": {"type": "integer", "minimum": 1, "maximum": 1024, "default": 1},
    "stop": {"anyOf": [STOP, {"type": "array", "items": STOP, "maxItems": 16}]},
    "stop_token_ids": {"type": "array", "items": ID, "maxItems": 64},
    "ignore_eos": FLAG | {"default": False},
    "stream": FLAG | {"default": False},
    "stream_options": {"type": "object", "additionalProperties": False, "properties": {"include_usage": FLAG}},
    "response_format": RESPONSE_FORMAT,
    "regex": TEXT | {"description": "the text must match it from end to end"},
    "guided_regex": TEXT | {"description": "another name of regex"},
    "guided_json": {"type": "object", "description": "a JSON schema; short for response_format"},
    "presence_penalty": OFF, "frequency_penalty": OFF,
    "logit_bias": {"type": "object", "maxProperties": 0},
    "user": IGNORED, "metadata": IGNORED, "store": IGNORED, "service_tier": IGNORED, "safety_identifier": IGNORED,
    "prompt_cache_key": IGNORED,
}  # fmt: skip
TOKENS = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}

COMPLETION = {
    "type": "object",
    "required": ["model", "prompt"],
    "additionalProperties": False,
    "properties": COMMON | {
        "prompt": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}, IDS,
                             {"type": "array", "items": IDS, "minItems": 1}],
                   "description": "texts or token ids"},
        "max_tokens": TOKENS | {"default": 16},
        "logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
        "echo": FLAG | {"default": False},
        "add_special_tokens": FLAG | {"description": "whether a text prompt gets the beginning-of-text token"},
        "best_of": {"enum": [1], "description": "accepted when off (1)"},
        "suffix": {"enum": [""], "description": "accepted when empty"},
    },
}  # fmt: skip

PART = {
    "type": "object", "required": ["type", "text"], "additionalProperties": False,
    "properties": {"type": {"const": "text"}, "text": TEXT},
}  # fmt: skip
MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "additionalProperties": False,
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"anyOf": [TEXT, {"type": "array", "items": PART, "minItems": 1}]},
        "name": TEXT,
        "refusal": {"type": "null"},
    },
}
CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "additionalProperties": False,
    "properties": COMMON | {
        "messages": {"type": "array", "items": MESSAGE, "minItems": 1, "maxItems": 4096},
        "max_tokens": TOKENS | {"description": "default: what the window has room for"},
        "max_completion_tokens": TOKENS | {"description": "another name of max_tokens"},
        "logprobs": FLAG | {"default": False},
        "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
        "tools": {"type": "array", "maxItems": 0},
        "tool_choice": {"enum": ["none"]},
        "parallel_tool_calls": IGNORED,
        "reasoning_effort": IGNORED,
    },
}  # fmt: skip
KINDS = {"completion": COMPLETION, "chat": CHAT}


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(KINDS[kind])


def read_body(kind: str, raw: bytes) -> dict[str, Any]:
    """The fields of a request's body; those that are null are left out.

    Raises:
      ApiError: not JSON, not Unicode, or not what ``KINDS[kind]`` allows; names the field.
    """
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise bad(None, "The body must be a JSON object.")
    body = {name: value for name, value in body.items() if value is not None}
    wrong = jsonschema.exceptions.best_match(_validator(kind).iter_errors(body))
    if wrong is not None:
        raise _refusal(wrong)
    return body


def parse_json(raw: bytes) -> Any:
    """JSON as the standard has it: no NaN, no number beyond a double, no half of a surrogate pair.

    A whole number is an ``int`` however it is spelt (``2.0``), as JSON schemas see it.
    """

    def refuse(word: str):
        raise ValueError(f"{word} is not JSON")

    def number(digits: str) -> float:
        value = float(digits)
        if abs(value) == float("inf"):
            refuse(digits[:20])
        return int(value) if value.is_integer() else value

    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=refuse, parse_float=number)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise bad(None, "The body is nested too deeply.") from None
    except (ValueError, UnicodeError) as error:
        raise bad(None, f"The body is not valid JSON: {str(error)[:200]}") from error
    return value


def _refusal(error: jsonschema.ValidationError) -> ApiError:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    param, code = where or None, None
    message = error.message if len(error.message) <= 300 else f"{error.message[:140]} … {error.message[-140:]}"
    if error.validator == "additionalProperties" and not where:
        known = error.schema["properties"]
        param = next(name for name in error.instance if name not in known)[:100]
        message, code = "is not a field that this server knows", "unknown_parameter"
    elif error.validator == "required" and not where:
        param = next(name for name in error.validator_value if name not in error.instance)
        message, code = "is required", "missing_required_parameter"
    return bad(param, f"{param or 'The body'}: {message}", code)
