"""A question to a model as data: instruction, material, and the fields of the answer with their limits."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from polaris_jax.llm import Request

VERSION = "1"  # of all instructions; raise it to have cached answers asked again
SEED = 20_240_517  # any number: servers that take a seed then repeat themselves
SYSTEM = (
    "You are an editor. You write planning notes about a novel, so exact that another author could rebuild the book "
    "from them. Say only what the given material supports: invent no event and no name. Use your own words, plain and "
    "concrete, in the present tense and the third person; never repeat eight words of the material in a row. "
    "Answer with one JSON object and nothing else."
)
_SECOND_TEMPERATURE = 0.5
_CORRECTION = "That answer cannot be used as it is:\n{}\nSend the whole JSON object again with this corrected."


class Unfit(ValueError):
    """An answer breaks a limit; the message tells the model what to change."""


@dataclass(frozen=True)
class Doubts:
    """What is unfaithful in a readable answer: names that the prose does not have, lines copied from it."""

    names: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.copies)

    def message(self) -> str:
        """For the model."""
        said = [f"these names are not in the text: {', '.join(self.names[:6])}"] if self.names else []
        said += [f"this repeats the book word for word, say it differently: {line[:160]}" for line in self.copies[:3]]
        return "; ".join(said)


@dataclass(frozen=True)
class Field:
    """One field of an answer.

    Attributes:
      key: property of the JSON object.
      says: what to write, one line.
      schema: its JSON schema; limits that a schema cannot say are checked by ``read``.
      read: JSON value -> clean value; raises ``Unfit``.
      doubts: clean value -> what is unfaithful in it.
      mend: clean value -> the same without what is unfaithful, None when nothing is left.
    """

    key: str
    says: str
    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    doubts: Callable[[Any], Doubts] = field(default=lambda value: Doubts())
    mend: Callable[[Any], Any] = field(default=lambda value: None)


@dataclass(frozen=True)
class Question:
    """What is asked about some material.

    Attributes:
      purpose: category in the ledger.
      task: the instruction.
      fields: of the answer, in the order they are written.
      material: the text the question is about.
      repairs: how often an unusable answer is sent back.
      temperature, sample: of the draw.
    """

    purpose: str
    task: str
    fields: tuple[Field, ...]
    material: str = ""
    repairs: int = 1
    temperature: float = 0.0
    sample: int = 0

    def about(self, material: str) -> "Question":
        """The same question about other material."""
        return replace(self, material=material)

    @property
    def schema(self) -> str:
        """JSON text; every object closed and every property required, as strict servers want it."""
        return json.dumps(closed({each.key: each.schema for each in self.fields}), ensure_ascii=False)

    @property
    def instruction(self) -> str:
        """The task and one line per field."""
        return "\n".join([self.task, *(f"- {each.key}: {each.says}" for each in self.fields)])

    @property
    def max_tokens(self) -> int:
        """Room for the longest answer that the schema allows, at two and a half characters per token."""
        return 64 + round(longest(json.loads(self.schema)) / 2.5)

    def request(self, answer: str = "", problems: str = "", turn: int = 0) -> Request:
        """The call. With ``problems`` it sends ``answer`` back; without an answer they stand behind the question, so
        that user and assistant always take turns. From the second repair ``turn`` on, another answer is drawn: a greedy
        one would come back unchanged."""
        content = f"{self.material}\n\n---\n{self.instruction}" if self.material else self.instruction
        if problems and answer:
            messages = (("user", content), ("assistant", answer), ("user", _CORRECTION.format(problems)))
        else:
            messages = (("user", f"{content}\n\nMind what was wrong before:\n{problems}" if problems else content),)
        return Request(
            messages=(("system", SYSTEM), *messages),
            schema=self.schema,
            temperature=self.temperature if turn < 2 else max(self.temperature, _SECOND_TEMPERATURE),
            max_tokens=self.max_tokens,
            seed=SEED,
            sample=self.sample + max(0, turn - 1),
            purpose=f"{self.purpose}, repair" if problems else self.purpose,
            version=VERSION,
        )


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
