"""Prompts with their human stories: JSONL and Parquet files in the schema of the POLARIS release (§1.2).

    {"uid", "prompt", "target_word_count", "story", "ground_truth_reasoning", "source"}

``prompt`` is text or a list of chat messages. A story may also stand under the release's other names for it
(``ground_truth``, ``solution``, ``answer``, ``target``), at the top or inside ``reward_model``.
"""

import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.json_lines import read_objects

_LOG = logging.getLogger(__name__)
STORY_NAMES = ("story", "ground_truth", "solution", "answer", "target")
_THINK_TAGS = ("<think>", "</think>")
_KNOWN = {"uid", "prompt", "target_word_count", "target_words", "ground_truth_reasoning", "source", "data_source"}
_KNOWN |= {*STORY_NAMES, "reward_model", "extra_info"}
# Fields of other formats, and how to use their rows.
_OTHERS = {
    **dict.fromkeys(("chosen", "rejected"), "is of a preference pair; set config.data.kind=pairs"),
    **dict.fromkeys(("messages", "conversations"), "is a chat; train on it from a store: polaris build --data"),
}


@dataclass(frozen=True)
class PromptStory:
    """One request, and the human story that answers it.

    Attributes:
      uid: unique in its file.
      prompt: the user's request; its last sentence usually ends in ``N words long``.
      target_words: how long the story should be; None when only the prompt says.
      story: the human story, without thinking; None when it is not published.
      reasoning: a plan that leads to the story, without tags; None if there is none.
      source: where the story comes from, one line.
      system: a system message ahead of the request.
    """

    uid: str
    prompt: str
    target_words: int | None = None
    story: str | None = None
    reasoning: str | None = None
    source: str = ""
    system: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The row in the published schema, without fields that are None."""
        prompt: Any = self.prompt
        if self.system is not None:
            prompt = [{"role": "system", "content": self.system}, {"role": "user", "content": self.prompt}]
        row = {
            "uid": self.uid,
            "prompt": prompt,
            "target_word_count": self.target_words,
            "story": self.story,
            "ground_truth_reasoning": self.reasoning,
            "source": self.source,
        }
        return {name: value for name, value in row.items() if value is not None}


def read_prompt_stories(address: str, *, stories: bool = False, reasoning: bool = False) -> list[PromptStory]:
    """All rows of a ``.jsonl`` or ``.parquet`` file, local or ``gs://``. Logs the names of fields that are not read.

    Args:
      stories, reasoning: every row must have one.

    Raises:
      InputError: no such file, or a row that breaks the schema or has another format; it names file, row and field.
    """
    content = storage.read(str(address))
    if content is None:
        raise InputError("data", str(address), "no such file; give prompts as .jsonl or .parquet")
    rows, unit = _rows(str(address), content)
    read: list[PromptStory] = []
    seen: dict[str, int] = {}
    unread: Counter[str] = Counter()
    for number, row in rows:
        where = f"{storage.name_of(str(address))} {unit} {number}"
        for name, advice in _OTHERS.items():
            if row.get(name) is not None:
                raise InputError(f"{where}: {name}", row[name], advice)
        unread.update(name for name, value in row.items() if name not in _KNOWN and value is not None)
        item = _read(row, where, number)
        if stories and not item.story:
            raise InputError(f"{where}: story", None, f"is needed here; one of {', '.join(STORY_NAMES)}")
        if reasoning and not item.reasoning:
            raise InputError(f"{where}: ground_truth_reasoning", None, "is needed here, without think tags")
        if item.uid in seen:
            raise InputError(f"{where}: uid", item.uid, f"is the uid of {unit} {seen[item.uid]} too")
        seen[item.uid] = number
        read.append(item)
    if not read:
        raise InputError("data", str(address), "has no rows")
    if unread:
        names = ", ".join(f"{name} ({count} rows)" for name, count in sorted(unread.items()))
        _LOG.warning("%s: fields that are not read: %s", storage.name_of(str(address)), names)
    return read


def write_prompt_stories(address: str, rows: Iterable[PromptStory]) -> None:
    """Writes ``.jsonl`` or ``.parquet`` in one piece, local or ``gs://``; equal rows give equal JSONL.

    Raises:
      InputError: the address has neither ending, or cannot be written.
    """
    content = [row.to_json() for row in rows]
    if address.endswith(".parquet"):
        arrow, parquet = _parquet()
        names = sorted({name for row in content for name in row})
        columns = {name: [row.get(name) for row in content] for name in names}
        sink = io.BytesIO()
        parquet.write_table(arrow.table(columns), sink)
        storage.write(address, sink.getvalue())
    elif address.endswith(".jsonl"):
        storage.write(address, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content).encode())
    else:
        raise InputError("data", address, "ends in .jsonl or .parquet")


def _rows(address: str, content: bytes) -> tuple[Iterable[tuple[int, Any]], str]:
    """``(number, row)`` pairs, numbered from 1, and the word for a row in errors."""
    if address.endswith(".parquet"):
        arrow, parquet = _parquet()
        try:
            return enumerate(parquet.read_table(io.BytesIO(content)).to_pylist(), 1), "row"
        except (arrow.ArrowInvalid, OSError) as error:
            raise InputError("data", address, f"not a Parquet file ({str(error).splitlines()[0]})") from None
    return read_objects(content, storage.name_of(address)), "line"


def _read(row: Mapping[str, Any], where: str, number: int) -> PromptStory:
    system, prompt = _prompt(row, where)
    inner = row.get("reward_model")
    inner = inner if isinstance(inner, Mapping) else {}
    story = next((part[name] for part in (row, inner) for name in STORY_NAMES if part.get(name)), None)
    reasoning = row.get("ground_truth_reasoning") or inner.get("ground_truth_reasoning") or None
    for name, text in (("story", story), ("ground_truth_reasoning", reasoning)):
        if text is not None and not isinstance(text, str):
            raise InputError(f"{where}: {name}", text, "must be text")
        if text is not None and any(tag in text for tag in _THINK_TAGS):
            raise InputError(f"{where}: {name}", text, "must not contain <think> or </think>")
    return PromptStory(
        uid=str(row["uid"]) if row.get("uid") is not None else f"row-{number}",
        prompt=prompt,
        target_words=_target(row, where),
        story=story,
        reasoning=reasoning,
        source=str(row.get("source") or row.get("data_source") or ""),
        system=system,
    )


def _prompt(row: Mapping[str, Any], where: str) -> tuple[str | None, str]:
    """System message and request."""
    prompt, extra = row.get("prompt"), row.get("extra_info")
    if isinstance(extra, Mapping) and isinstance(extra.get("prompt"), str) and not isinstance(prompt, str):
        text = extra["prompt"]
    elif isinstance(prompt, list):
        text = _said(prompt, "user", where)
    else:
        text = prompt
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: prompt", prompt, "must be text, or chat messages with one of the user")
    return _said(prompt, "system", where) if isinstance(prompt, list) else None, text


def _said(messages: list[Any], role: str, where: str) -> str | None:
    """The first message of a role."""
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise InputError(f"{where}: prompt", message, 'each message is {"role": ..., "content": text}')
        if message.get("role") == role:
            return message["content"]
    return None


def _target(row: Mapping[str, Any], where: str) -> int | None:
    for name in ("target_word_count", "target_words"):
        value = row.get(name)
        if value is None:
            continue
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or value < 1:
            raise InputError(f"{where}: {name}", value, "must be a whole number of words, 1 or more")
        return int(value)
    return None


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError("library", "pyarrow", "not installed; run: pip install pyarrow, or use .jsonl") from None
    return pyarrow, pyarrow.parquet
