"""JSON answers: how the schema is told to a model, and how an answer is read.

Nothing is repaired: an answer is valid JSON under its schema or it is no answer.
"""

import functools
import json
import re
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.llm.transport import extra

_FENCED = re.compile(r"```[A-Za-z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


def without_thinking(text: str) -> str:
    """``text`` after its ``<think>`` block; empty if the block never closes, unchanged if there is none.

    Some chat templates open the block in the prompt, so a closing tag alone ends one too.
    """
    thought, closed, answer = text.partition("</think>")
    if closed:
        return answer.strip()
    return "" if thought.lstrip().startswith("<think>") else text.strip()


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
    """The JSON value that ``text`` answers with, alone or as its only fenced block, hidden reasoning aside.

    Raises:
      ValueError: it is not JSON, or not valid under ``schema``; one line.
    """
    stripped = text.strip()
    # JSON comes first: a story inside it may well speak of <think>.
    answer = stripped if stripped[:1] in ("{", "[") else without_thinking(stripped)
    blocks = _FENCED.findall(answer) if answer[:1] not in ("{", "[") else []
    value = json.loads(blocks[0] if len(blocks) == 1 else answer, parse_constant=_no_constant)
    wrong = extra("jsonschema").exceptions.best_match(validator(schema).iter_errors(value))
    if wrong is not None:
        raise ValueError(f"{wrong.json_path}: {wrong.message[:150]}")
    return value


def instruction(schema: str) -> str:
    """The sentence that asks for JSON where the server does not enforce it."""
    return f"Reply with one JSON value that is valid under this JSON schema, and with nothing else:\n{schema}"


def with_instruction(messages: tuple[tuple[str, str], ...], schema: str) -> tuple[tuple[str, str], ...]:
    """``messages`` with the instruction at the end of the last one of the user (some chat templates know no system)."""
    last = max((n for n, (role, _) in enumerate(messages) if role == "user"), default=None)
    if last is None:
        return (*messages, ("user", instruction(schema)))
    asked = ("user", f"{messages[last][1]}\n\n{instruction(schema)}")
    return (*messages[:last], asked, *messages[last + 1 :])


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes the schema: every object closed, every property required."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            return False
    return all(is_strict(part) for part in schema.values())


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
