"""The fields of a request as JSON schemas, for checking every body and for the published document.

Unknown fields are refused: silently ignoring an option would give a wrong answer. Fields of OpenAI's API that have no
meaning here are accepted if ignoring them changes nothing, and otherwise only with the value that turns them off.
"""

import json
from functools import cache
from typing import Any, NoReturn

import jsonschema

from polaris_jax.serving.api_errors import ApiError, invalid_request

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
ID = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
IDS = {"type": "array", "items": ID, "minItems": 1}
PENALTY = {"type": "number", "minimum": -2, "maximum": 2, "default": 0}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
IGNORED = {"description": "accepted, without effect"}
NONE = {"type": "array", "maxItems": 0, "description": "accepted when empty"}
STOP = {"type": "string", "minLength": 1, "maxLength": 1000}

RESPONSE_FORMAT = {
    "oneOf": [
        {
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": {"type": {"enum": ["text", "json_object"]}},
        },
        {
            "type": "object",
            "required": ["type", "json_schema"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "json_schema"},
                "json_schema": {
                    "type": "object",
                    "required": ["schema"],
                    "additionalProperties": False,
                    "properties": {
                        "name": TEXT,
                        "description": TEXT,
                        "strict": {"type": ["boolean", "null"]},
                        "schema": {"type": "object"},
                    },
                },
            },
        },
    ]
}

COMMON = {
    "model": {"type": "string", "description": "the name that /v1/models gives"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 100, "default": 1.0},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1.0},
    "top_k": {"type": "integer", "minimum": -1, "maximum": 2**31 - 1, "default": 0, "description": "0 or -1: off"},
    "min_p": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
    "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "default": 1.0},
    "seed": {
        "type": "integer",
        "minimum": -(2**63),
        "maximum": 2**63 - 1,
        "description": "the same seed, the same text; choice i of a request draws from a seed of its own",
    },
    "n": {"type": "integer", "minimum": 1, "maximum": 1024, "default": 1},
    "stop": {"anyOf": [STOP, {"type": "array", "items": STOP, "maxItems": 16}]},
    "stop_token_ids": {"type": "array", "items": ID, "maxItems": 64},
    "ignore_eos": FLAG | {"default": False},
    "stream": FLAG | {"default": False},
    "stream_options": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"include_usage": FLAG, "include_obfuscation": IGNORED},
    },
    "response_format": RESPONSE_FORMAT,
    "regex": TEXT | {"description": "the text must match it from end to end"},
    "guided_regex": TEXT | {"description": "another name of regex"},
    "guided_grammar": TEXT | {"description": "the text must belong to this grammar, in llguidance's dialect of Lark"},
    "guided_json": {"type": "object", "description": "a JSON schema; short for response_format"},
    "presence_penalty": PENALTY | {"description": "taken from the logit of every token that was generated before"},
    "frequency_penalty": PENALTY | {"description": "taken from a token's logit as often as it was generated before"},
    "logit_bias": {
        "type": "object",
        "maxProperties": 1024,
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        "description": "token id → number added to its logit",
    },
    "min_tokens": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**31 - 1,
        "default": 0,
        "description": "no end token before that many; stop strings and constraints still end a text",
    },
    "typical_p": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 1.0,
        "description": "locally typical sampling",
    },
    "xtc_probability": SHARE | {"default": 0, "description": "how often XTC leaves the top choices out"},
    "xtc_threshold": SHARE | {"default": 0.1, "description": "what XTC calls a top choice"},
    "dry_multiplier": {
        "type": "number",
        "minimum": 0,
        "maximum": 100,
        "default": 0,
        "description": "DRY's penalty on tokens that prolong a repetition; 0: off",
    },
    "dry_base": {"type": "number", "minimum": 1, "maximum": 100, "default": 1.75},
    "dry_allowed_length": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1, "default": 2},
    "dry_penalty_last_n": {
        "type": "integer",
        "minimum": -1,
        "maximum": 2**31 - 1,
        "default": -1,
        "description": "how many tokens back DRY looks; 0 or -1: the whole text",
    },
    "dry_sequence_breakers": {"type": "array", "items": STOP, "maxItems": 16},
    "prompt_logprobs": {
        "type": "integer",
        "minimum": 0,
        "maximum": 20,
        "description": "alternatives to name beside each token of the prompt; not with stream",
    },
    "user": IGNORED,
    "metadata": IGNORED,
    "store": IGNORED,
    "service_tier": IGNORED,
    "safety_identifier": IGNORED,
    "prompt_cache_key": IGNORED,
}
ADD_SPECIAL = FLAG | {"description": "whether a text prompt gets the beginning-of-text token"}
TOKENS = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}

COMPLETION = {
    "type": "object",
    "required": ["model", "prompt"],
    "additionalProperties": False,
    "properties": COMMON
    | {
        "prompt": {
            "anyOf": [
                TEXT,
                {"type": "array", "items": TEXT, "minItems": 1},
                IDS,
                {"type": "array", "items": IDS, "minItems": 1},
            ],
            "description": "texts or token ids",
        },
        "max_tokens": TOKENS | {"minimum": 0, "default": 16, "description": "0 needs echo or prompt_logprobs"},
        "logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
        "echo": FLAG | {"default": False},
        "add_special_tokens": ADD_SPECIAL,
        "best_of": {"enum": [1], "description": "accepted when off (1)"},
        "suffix": {"enum": [""], "description": "accepted when empty"},
    },
}

PART = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {"type": {"const": "text"}, "text": TEXT},
}
MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "additionalProperties": False,
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"anyOf": [TEXT, {"type": "array", "items": PART, "minItems": 1}]},
        "name": TEXT,
        "reasoning_content": TEXT | {"description": "the template decides whether it is shown to the model"},
        # Clients send these when they send a reply back.
        "tool_calls": NONE,
        "annotations": NONE,
    },
}
CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "additionalProperties": False,
    "properties": COMMON
    | {
        "messages": {"type": "array", "items": MESSAGE, "minItems": 1, "maxItems": 4096},
        "max_tokens": TOKENS | {"description": "default: what the window has room for"},
        "max_completion_tokens": TOKENS | {"description": "another name of max_tokens"},
        "logprobs": FLAG | {"default": False},
        "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
        "continue_final_message": FLAG
        | {"default": False, "description": "the reply goes on inside the last message instead of beginning a new one"},
        "add_generation_prompt": FLAG | {"description": "default: unless the last message is continued"},
        "chat_template_kwargs": {"type": "object", "description": "further variables of the chat template"},
        "tools": {"type": "array", "description": "accepted when empty, or with tool_choice none"},
        "tool_choice": {"description": "accepted as none, or without tools as auto"},
        "functions": NONE,
        "function_call": {"enum": ["none"]},
        "parallel_tool_calls": IGNORED,
        "modalities": {"type": "array", "items": {"const": "text"}},
        "reasoning_effort": IGNORED,
        "separate_reasoning": FLAG
        | {"default": True, "description": "thoughts between think tags go to reasoning_content, not to content"},
    },
}
TOKENIZE = {
    "type": "object",
    "required": ["prompt"],
    "additionalProperties": False,
    "properties": {
        "model": COMMON["model"],
        "prompt": TEXT,
        "add_special_tokens": ADD_SPECIAL,
    },
}
KINDS = {"completion": COMPLETION, "chat": CHAT, "tokenize": TOKENIZE}


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(KINDS[kind])


def read_body(kind: str, raw: bytes) -> dict[str, Any]:
    """The fields of a request's body, without those that are null.

    Raises:
      ApiError: not JSON, not Unicode, or not what ``KINDS[kind]`` allows; names the field.
    """
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise invalid_request(None, "The body must be a JSON object.")
    body = without_nulls(body)
    if kind == "chat":
        _refuse_tools(body)
    wrong = jsonschema.exceptions.best_match(_validator(kind).iter_errors(body))
    if wrong is not None:
        raise _refusal(wrong)
    return body


def without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """A body without fields that are null, including those of messages, their parts and objects of options.

    Clients send replies back with every field that they know. In schemas and template variables null has a meaning and
    stays. An assistant's message without content becomes an empty one.
    """
    kept = _not_null(body)
    for name in ("stream_options", "response_format"):
        if isinstance(kept.get(name), dict):
            kept[name] = _not_null(kept[name])
    if isinstance(kept.get("messages"), list):
        kept["messages"] = [_message(one) if isinstance(one, dict) else one for one in kept["messages"]]
    return kept


def _message(message: dict[str, Any]) -> dict[str, Any]:
    kept = _not_null(message)
    if isinstance(kept.get("content"), list):
        kept["content"] = [_not_null(part) if isinstance(part, dict) else part for part in kept["content"]]
    return {"content": ""} | kept if kept.get("role") == "assistant" else kept


def _not_null(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _refuse_tools(body: dict[str, Any]) -> None:
    """Raises ``ApiError`` if a request asks for tool calls, or has messages about them."""
    choice = body.get("tool_choice", "auto")
    if body.get("tools") and choice != "none":
        raise invalid_request("tools", 'tools: this server calls no tools; leave them out or send tool_choice "none".')
    if choice not in ("none", "auto"):
        raise invalid_request("tool_choice", 'tool_choice: this server calls no tools; only "none" can be served.')
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and (message.get("role") in ("tool", "function") or message.get("tool_calls")):
            where = f"messages[{index}]"
            raise invalid_request(
                where, f"{where}: this server calls no tools; leave tool calls and their results out."
            )


def parse_json(raw: bytes) -> Any:
    """Parses strict JSON: no NaN, no number beyond a double, no half of a surrogate pair.

    A whole number is an ``int`` however it is spelt (``2.0``), as in JSON schemas.
    """

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    def number(digits: str) -> int | float:
        value = float(digits)
        if abs(value) == float("inf"):
            refuse(digits[:20])
        return int(value) if value.is_integer() else value

    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=refuse, parse_float=number)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise invalid_request(None, "The body is nested too deeply.") from None
    except (ValueError, UnicodeError) as error:
        raise invalid_request(None, f"The body is not valid JSON: {str(error)[:200]}") from error
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
    return invalid_request(param, f"{param or 'The body'}: {message}", code)
