"""Stories to judge: one JSON object per line, under the field names of published benchmarks and trainers."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polaris_jax import json_lines
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.jsonl import BadRecord
from polaris_jax.rewards import count_characters, count_words, length_request, split_thinking

# Field names by precedence: the first that is present counts.
ID_FIELDS = ("id", "uid", "prompt_id", "index")
PROMPT_FIELDS = ("prompt", "input", "query", "instruction", "writing_prompt")
STORY_FIELDS = ("story", "output", "response", "completion", "generation", "text")
TARGET_FIELDS = ("target_words", "target_word_count", "target_length", "length")
MODEL_FIELDS = ("model", "model_name")


@dataclass(frozen=True)
class Generation:
    """One story and the prompt it answers.

    Attributes:
      id: id of the prompt; stories of different models on one prompt share it (``line-7`` in a file without ids).
      prompt: the prompt, with its length sentence.
      story: without reasoning; empty when the model wrote nothing.
      target_words: requested length in ``unit``, or None.
      model: the model that wrote it.
      meta: every other field of the line.
      unit: ``words`` or ``characters``, as the prompt asks.
    """

    id: str
    prompt: str
    story: str
    target_words: int | None = None
    model: str = "model"
    meta: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "words"

    @property
    def words(self) -> int:
        """Length of the story in ``unit``, in any script."""
        return self.length(count_words)

    def length(self, count: Callable[[str], int]) -> int:
        """Length of the story in ``unit``; ``count`` counts words."""
        return count(self.story) if self.unit == "words" else count_characters(self.story)


def read_generations(path: str | os.PathLike, model: str | None = None) -> tuple[list[Generation], list[BadRecord]]:
    """The stories of a JSONL file, and its bad lines.

    Args:
      path: the file; its stem is the model's name for lines without a ``model`` field.
      model: the model's name for every line.

    Raises:
      InputError: the file cannot be read, or no line of it is a story.
    """
    generations, bad = [], []
    seen: set[tuple[str, str]] = set()
    for number, row in json_lines.parse(jsonl.read_text(path, "generations")):
        try:
            one = _generation(row, number, model or Path(path).stem, named=model is not None)
            if (one.model, one.id) in seen:
                raise ValueError(f"a second story of {one.model} for id {one.id}")
            seen.add((one.model, one.id))
            generations.append(one)
        except ValueError as error:
            bad.append(BadRecord(str(path), number, str(error)))
    if not generations:
        reason = f"line {bad[0].line}: {bad[0].reason}" if bad else "it is empty"
        raise InputError("generations", str(path), f"has no story; {reason}")
    return generations, bad


def write_generations(path: str | os.PathLike, generations: Iterable[Generation]) -> None:
    """Writes stories in the layout that ``read_generations`` reads back."""
    jsonl.write(
        path,
        (
            {
                "id": g.id,
                "prompt": g.prompt,
                "story": g.story,
                "target_words": g.target_words,
                "model": g.model,
                **g.meta,
            }
            for g in generations
        ),
    )


def first_user_message(prompt: Any) -> str:
    """The text of a prompt: the prompt itself, or the first user message of a chat.

    Raises:
      ValueError: it is neither.
    """
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        for message in prompt:
            if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), str):
                return message["content"]
    raise ValueError("the prompt is neither text nor a chat with a user message")


def asked_length(prompt: str, given: float | None) -> tuple[int | None, str]:
    """The requested length and its unit: the row's number, else the prompt's request (``length_request``)."""
    request = length_request(prompt)
    if given:
        return int(given), request.unit if request is not None and request.number == int(given) else "words"
    return (None, "words") if request is None else (request.number, request.unit)


def _generation(row: Any, number: int, model: str, named: bool) -> Generation:
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    found = {
        name: next((key for key in keys if row.get(key) is not None), None)
        for name, keys in (
            ("id", ID_FIELDS),
            ("prompt", PROMPT_FIELDS),
            ("story", STORY_FIELDS),
            ("target", TARGET_FIELDS),
            ("model", MODEL_FIELDS),
        )
    }
    story = row.get(found["story"]) if found["story"] else None
    if not isinstance(story, str):
        raise ValueError(f"no story: none of the fields {', '.join(STORY_FIELDS)} is text")
    prompt = first_user_message((row.get(found["prompt"]) if found["prompt"] else None) or "")
    target = row.get(found["target"]) if found["target"] else None
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float) or target != target):
        raise ValueError(f"{found['target']} is not a number")
    words, unit = asked_length(prompt, target)
    return Generation(
        id=str(row[found["id"]]) if found["id"] else f"line-{number}",
        prompt=prompt,
        story=split_thinking(story).story.strip(),
        target_words=words,
        model=model if named or not found["model"] else str(row[found["model"]]),
        meta={key: value for key, value in row.items() if key not in found.values() and value is not None},
        unit=unit,
    )
