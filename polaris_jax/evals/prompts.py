"""Prompts for stories: the user's files in the published layouts, or our own small sets."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from polaris_jax import json_lines
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.generations import (
    ID_FIELDS,
    PROMPT_FIELDS,
    TARGET_FIELDS,
    Generation,
    asked_length,
    first_user_message,
)
from polaris_jax.evals.jsonl import BadRecord

_SETS = resources.files("polaris_jax.evals") / "prompt_sets"
_SEED_MARK = "<SEED>"
# Benchmark → the fields of a record in its published file.
_LAYOUTS = {
    "LongBench-Write": {"prompt", "type", "length"},
    "WritingBench": {"query", "checklist", "domain1"},
    "EQ-Bench Creative Writing": {"writing_prompt", "seed_modifiers"},
    "POLARIS": {"uid", "prompt", "target_word_count"},
}
_MATCHED = 100  # a story without an id is matched to a prompt by this many first characters


@dataclass(frozen=True)
class Prompt:
    """A writing task.

    Attributes:
      target_words: requested length in ``unit`` (``words`` or ``characters``), or None.
      meta: every other field: a checklist, a domain, a language.
    """

    id: str
    text: str
    target_words: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "words"


def packaged_sets() -> list[str]:
    """Names of our own small sets."""
    return sorted(entry.name.removesuffix(".jsonl") for entry in _SETS.iterdir() if entry.name.endswith(".jsonl"))


def read_prompts(
    source: str | os.PathLike, *, domain: str | None = None, language: str | None = None
) -> tuple[list[Prompt], list[BadRecord]]:
    """Prompts from a packaged set (by name) or from a file, and the bad records.

    Supported: JSONL with the columns of POLARIS (``uid, prompt, target_word_count``; a prompt may be a chat),
    LongBench-Write (``prompt, type, length``) and WritingBench (``index, domain1, lang, query, checklist``), a JSON
    list of such objects, and EQ-Bench Creative's object of ``writing_prompt`` with ``seed_modifiers`` (a prompt each).

    Args:
      domain: keep only prompts whose ``domain1`` begins with this (WritingBench D4: ``Literature``).
      language: keep only prompts whose ``lang`` is this.

    Raises:
      InputError: no such set or file, or no usable prompt in it.
    """
    if str(source) in packaged_sets():
        text, name = (_SETS / f"{source}.jsonl").read_text(encoding="utf-8"), str(source)
    else:
        name = str(source)
        try:
            text = jsonl.read_text(source, "prompts")
        except InputError as error:
            raise InputError("prompts", name, f"{error.advice}; packaged sets: {', '.join(packaged_sets())}") from None
    prompts: list[Prompt] = []
    bad: list[BadRecord] = []
    seen: set[str] = set()
    for number, key, row in _rows(text):
        try:
            for prompt in _prompts(row, key or f"line-{number}"):
                if domain and not str(prompt.meta.get("domain1", "")).lower().startswith(domain.lower()):
                    continue
                if language and prompt.meta.get("lang") != language:
                    continue
                if prompt.id in seen:
                    raise ValueError(f"a second prompt with id {prompt.id}")
                seen.add(prompt.id)
                prompts.append(prompt)
        except ValueError as error:
            bad.append(BadRecord(name, number, str(error)))
    if not prompts:
        raise InputError("prompts", name, f"has no usable prompt; {bad[0].reason if bad else 'nothing is left of it'}")
    return prompts, bad


def published_layout(source: str | os.PathLike) -> str | None:
    """The benchmark whose published prompt file has the same fields as this file, or None.

    Raises:
      InputError: no such file.
    """
    first = next((row for _, _, row in _rows(jsonl.read_text(source, "prompts"))), None)
    fields = set(first) if isinstance(first, dict) else set()
    return next((name for name, needed in _LAYOUTS.items() if needed <= fields), None)


def join_prompts(generations: Sequence[Generation], prompts: Sequence[Prompt]) -> list[Generation]:
    """Adds to stories the fields of their prompts: text, requested length, checklist.

    A story is matched by id, else by the first hundred characters of the prompt (it then gets the prompt's id). A story
    without a match stays unchanged. Fields of the story's own line take precedence.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    beginnings = Counter(prompt.text[:_MATCHED] for prompt in prompts)
    by_text = {prompt.text[:_MATCHED]: prompt for prompt in prompts if beginnings[prompt.text[:_MATCHED]] == 1}
    joined = []
    for one in generations:
        prompt = by_id.get(one.id) or by_text.get(one.prompt[:_MATCHED])
        if prompt is not None:
            one = replace(
                one,
                id=prompt.id,
                prompt=one.prompt or prompt.text,
                target_words=one.target_words or prompt.target_words,
                unit=one.unit if one.target_words else prompt.unit,
                meta={**prompt.meta, **one.meta},
            )
        joined.append(one)
    return joined


def _rows(text: str):
    """``(number, key or None, value)`` of JSONL, a JSON list, or a JSON object of objects."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        yield from ((number, None, row) for number, row in enumerate(whole, 1))
    elif isinstance(whole, dict) and whole and all(isinstance(row, dict) for row in whole.values()):
        yield from ((number, str(key), row) for number, (key, row) in enumerate(whole.items(), 1))
    else:
        yield from ((number, None, row) for number, row in json_lines.parse(text))


def _prompts(row: Any, otherwise: str) -> list[Prompt]:
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    fields = {
        name: next((key for key in keys if row.get(key) is not None), None)
        for name, keys in (("id", ID_FIELDS), ("text", PROMPT_FIELDS), ("target", TARGET_FIELDS))
    }
    if fields["text"] is None:
        raise ValueError(f"no prompt in any of {', '.join(PROMPT_FIELDS)}")
    text = first_user_message(row[fields["text"]])
    target = row.get(fields["target"]) if fields["target"] else None
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float)):
        raise ValueError(f"{fields['target']} is not a number")
    name = str(row[fields["id"]]) if fields["id"] else otherwise
    meta = {key: value for key, value in row.items() if key not in (*fields.values(), "seed_modifiers")}
    seeds = row.get("seed_modifiers")
    if isinstance(seeds, list) and seeds:
        return [
            _prompt(f"{name}/{n}", text.replace(_SEED_MARK, str(seed)), target, meta) for n, seed in enumerate(seeds, 1)
        ]
    return [_prompt(name, text, target, meta)]


def _prompt(name: str, text: str, target: float | None, meta: Mapping[str, Any]) -> Prompt:
    words, unit = asked_length(text, target)
    return Prompt(name, text, words, meta, unit)
