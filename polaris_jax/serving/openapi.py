"""The server's OpenAPI document, made from the schemas that check its requests."""

from collections.abc import Sequence
from typing import Any

from polaris_jax import __version__
from polaris_jax.serving.schema import CHAT, COMPLETION, TOKENIZE

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_USAGE = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
}
_TOKENS = {
    "type": "object",
    "required": ["count", "max_model_len", "tokens"],
    "properties": {"tokens": {"type": "array", "items": {"type": "integer"}}},
}
_REFUSALS = {
    "400": "not JSON, or a field that is wrong",
    "401": "no valid token",
    "404": "no such model or path",
    "408": "the body came too slowly",
    "413": "the body is too large",
    "415": "not application/json",
    "429": "too many texts waiting or active",
    "500": "a defect",
    "503": "shutting down, or out of time",
}


def openapi_document(models: Sequence[str]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server of ``models``: the model's name, then those of its adapters."""
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{models[0]}, served by polaris_jax", "version": __version__},
        "paths": {
            "/v1/completions": {"post": _post("Continues texts", "Completion", COMPLETION, models, _reply("text"))},
            "/v1/chat/completions": {
                "post": _post("Answers a chat", "ChatCompletion", CHAT, models, _reply("message"))
            },
            "/tokenize": {"post": _post("Tokens of a text", "Tokenization", TOKENIZE, models, _TOKENS)},
            "/v1/models": {
                "get": _get("The model and its adapters", {"type": "object", "required": ["object", "data"]})
            },
            "/v1/models/{name}": {
                "get": _get("One of them by name", {"type": "object", "required": ["id"]})
                | {
                    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Counters for Prometheus",
                    "responses": {"200": {"description": "done", "content": {"text/plain": {}}}, **_refusals()},
                }
            },
            "/health": {"get": _get("Whether it works", {"type": "object", "required": ["status"]}) | {"security": []}},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _reply(content: str) -> dict[str, Any]:
    choice = {"type": "object", "required": ["index", "finish_reason", "logprobs", content]}
    return {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices", "usage"],
        "properties": {"choices": {"type": "array", "items": choice}, "usage": _USAGE},
    }


def _post(
    summary: str, name: str, schema: dict[str, Any], models: Sequence[str], reply: dict[str, Any]
) -> dict[str, Any]:
    schema = schema | {"properties": schema["properties"] | {"model": {"enum": list(models)}}}
    return {
        "summary": summary,
        "operationId": f"create{name}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": reply}, "text/event-stream": {}}},
            **_refusals(),
        },
    }


def _get(summary: str, reply: dict[str, Any]) -> dict[str, Any]:
    done = {"description": "done", "content": {"application/json": {"schema": reply}}}
    return {"summary": summary, "responses": {"200": done, **_refusals()}}


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": why, "content": content} for status, why in _REFUSALS.items()}
