"""A question to a model as data: instruction, material, and the fields of the answer with their limits."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from polaris_jax.llm import Request
from polaris_jax.scaffold.llm import prompts

VERSION = "1"  # of all instructions; raise it so that cached questions are asked again
SEED = 20_240_517  # any number; servers that accept a seed then repeat their answers
_SECOND_TEMPERATURE = 0.5
_CORRECTION = "That answer cannot be used as it is:\n{}\nSend the whole JSON object again with this corrected."


class InvalidField(ValueError):
    """A field of an answer breaks a limit; the message tells the model what to change."""


@dataclass(frozen=True)
class Issues:
    """What is unfaithful in a readable answer: names that the prose does not have, and copied lines."""

    names: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.copies)

    def message(self) -> str:
        """The issues as a message to the model."""
        said = [f"these names are not in the text: {', '.join(self.names[:6])}"] if self.names else []
        said += [f"this repeats the book word for word, say it differently: {line[:160]}" for line in self.copies[:3]]
        return "; ".join(said)


@dataclass(frozen=True)
class QuestionField:
    """One field of an answer.

    Attributes:
      key: property of the JSON object; ``a/b`` is property ``b`` of the object in property ``a``.
      says: what to write, one line; empty if the task says it.
      schema: its JSON schema; ``read`` checks limits that a schema cannot express.
      read: JSON value -> clean value; raises ``InvalidField``.
      issues: clean value -> what is unfaithful in it.
      repair: clean value -> the value without what is unfaithful; None if nothing is left.
    """

    key: str
    says: str
    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    issues: Callable[[Any], Issues] = field(default=lambda value: Issues())
    repair: Callable[[Any], Any] = field(default=lambda value: None)


@dataclass(frozen=True)
class AnnotationQuestion:
    """A question about some material.

    Attributes:
      purpose: category in the ledger.
      task: the instruction.
      fields: fields of the answer, in the order they are written.
      material: the text the question is about.
      book: prose of the novel, which stands before everything else, so that questions with the same beginning share it
        in a provider's prompt cache; the long guide is sent with it. Empty in a small window.
      corrections: how often an unusable answer is sent back.
      temperature: sampling temperature. sample: number of the sample.
    """

    purpose: str
    task: str
    fields: tuple[QuestionField, ...]
    material: str = ""
    book: str = ""
    corrections: int = 1
    temperature: float = 0.0
    sample: int = 0

    def about(self, material: str) -> "AnnotationQuestion":
        """The same question about other material."""
        return replace(self, material=material)

    @property
    def schema(self) -> str:
        """The JSON schema as text; every object is closed and every property required, as strict servers demand."""
        return json.dumps(
            _nested({tuple(each.key.split("/")): each.schema for each in self.fields}), ensure_ascii=False
        )

    @property
    def instruction(self) -> str:
        """The task and one line per field."""
        return "\n".join([self.task, *(f"- {each.key}: {each.says}" for each in self.fields if each.says)])

    @property
    def system(self) -> str:
        """The system message."""
        return f"{prompts.text('system')}\n\n{prompts.guide()}" if self.book else prompts.text("system")

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest answer that the schema allows, at two and a half characters per token."""
        return 64 + round(longest(json.loads(self.schema)) / 2.5)

    def request(self, answer: str = "", problems: str = "", turn: int = 0) -> Request:
        """The request to the client.

        With ``problems``, ``answer`` is sent back. If ``answer`` is empty, the problems follow the question, so that
        user and assistant always take turns. From the second correction ``turn`` on, another answer is sampled: a
        greedy one would not change.
        """
        above = "\n\n".join(part for part in (self.book, self.material) if part)
        content = f"{above}\n\n---\n{self.instruction}" if above else self.instruction
        messages: tuple[tuple[str, str], ...]
        if problems and answer:
            messages = (("user", content), ("assistant", answer), ("user", _CORRECTION.format(problems)))
        else:
            messages = (("user", f"{content}\n\nMind what was wrong before:\n{problems}" if problems else content),)
        return Request(
            messages=(("system", self.system), *messages),
            schema=self.schema,
            temperature=self.temperature if turn < 2 else max(self.temperature, _SECOND_TEMPERATURE),
            max_tokens=self.max_tokens,
            seed=SEED,
            sample=self.sample + max(0, turn - 1),
            purpose=f"{self.purpose}, repair" if problems else self.purpose,
            version=VERSION,
            shared_prefix=bool(self.book),
        )


def value_at(data: Any, key: str) -> Any:
    """The value of an answer at a field's key."""
    for part in key.split("/"):
        data = data[part]
    return data


def _nested(schemas: Mapping[tuple[str, ...], Mapping]) -> dict[str, Any]:
    """The schema of an object whose parts are given by path."""
    inner: dict[str, dict[tuple[str, ...], Mapping]] = {}
    for path, schema in schemas.items():
        inner.setdefault(path[0], {})[path[1:]] = schema
    return closed({key: parts[()] if () in parts else _nested(parts) for key, parts in inner.items()})


def closed(properties: Mapping[str, Mapping]) -> dict[str, Any]:
    """Schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def longest(schema: Mapping) -> int:
    """Characters of the longest JSON text that a schema with limits everywhere allows."""
    kind = schema["type"]
    if kind == "string":
        return schema["maxLength"] + 2
    if kind == "array":
        return 2 + schema["maxItems"] * (longest(schema["items"]) + 3)
    if kind == "object":
        return 2 + sum(len(key) + 6 + longest(value) for key, value in schema["properties"].items())
    return 6
