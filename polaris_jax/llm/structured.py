"""Structured output: gives a model the JSON schema, and checks its answer against it.

Nothing is completed: an answer must hold exactly one value that is valid under its schema.
"""

import functools
import json
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.llm.replies import UnreadableReply, read_number, read_value
from polaris_jax.llm.transport import extra


@functools.lru_cache(maxsize=256)
def validator(schema: str) -> Any:
    """The compiled validator of a schema (draft 2020-12 unless it names another).

    Raises:
      InputError: the schema itself is not valid.
    """
    jsonschema = extra("jsonschema")
    content = json.loads(schema)
    draft = jsonschema.validators.validator_for(content, default=jsonschema.Draft202012Validator)
    try:
        draft.check_schema(content)
    except jsonschema.SchemaError as error:
        raise InputError("schema", schema, f"not a JSON schema: {error.message[:150]}") from None
    return draft(content)


def read_json(text: str, schema: str) -> Any:
    """The JSON value in ``text`` that is valid under ``schema``, read by ``replies.read_value``.

    A number written as text counts as a number where the schema requires one.

    Raises:
      UnreadableReply: there is no such value, or more than one; the message is one line.
    """
    content, check = json.loads(schema), validator(schema)

    def fits(value: Any) -> Any:
        value = _with_numbers(value, content)
        wrong = extra("jsonschema").exceptions.best_match(check.iter_errors(value))
        if wrong is not None:
            raise UnreadableReply("invalid_json", f"{wrong.json_path}: {wrong.message[:150]}")
        return value

    return read_value(text, fits)


def _with_numbers(value: Any, schema: Any) -> Any:
    """``value`` with numbers that are written as text converted, where the schema allows only a number."""
    if not isinstance(schema, dict):
        return value
    if isinstance(value, str) and schema.get("type") in ("number", "integer"):
        number = read_number(value, out_of=schema.get("maximum"))
        return value if number is None else number
    if isinstance(value, dict) and isinstance(parts := schema.get("properties"), dict):
        return {name: _with_numbers(part, parts.get(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_numbers(part, schema.get("items")) for part in value]
    return value


def instruction(schema: str) -> str:
    """The instruction that asks for JSON if the server does not enforce it."""
    return f"Reply with one JSON value that is valid under this JSON schema, and with nothing else:\n{schema}"


def with_instruction(messages: tuple[tuple[str, str], ...], schema: str) -> tuple[tuple[str, str], ...]:
    """``messages`` with the instruction at the end of the last user message (some templates have no system role)."""
    last = max((n for n, (role, _) in enumerate(messages) if role == "user"), default=None)
    if last is None:
        return (*messages, ("user", instruction(schema)))
    asked = ("user", f"{messages[last][1]}\n\n{instruction(schema)}")
    return (*messages[:last], asked, *messages[last + 1 :])


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode accepts the schema: every object closed, every property required."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            return False
    return all(is_strict(part) for part in schema.values())
