"""The attacks: the text that the model is given, its continuation, and the overlap with the training text."""

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from polaris_jax import json_lines
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.generations import first_user_message
from polaris_jax.evals.jsonl import BadRecord
from polaris_jax.studies.memorisation.overlap import overlap, strip_thinking

MODES = ("gold_thinking", "prompt_only")
PREFIXES = (50, 100, 200)
CONTINUATION = 512
SAMPLE, SEED = 100, 3479
_REASONING_FIELDS = ("ground_truth_reasoning", "reasoning")
_STORY_FIELDS = ("story", "ground_truth", "solution", "answer", "target")


@dataclass(frozen=True)
class AuditRow:
    """A training example: prompt, human story (the reference), and the reasoning before it (empty without any)."""

    id: str
    prompt: str
    story: str
    reasoning: str = ""


@dataclass(frozen=True)
class Attack:
    """One attack: ``given`` story tokens of row ``id`` in the prompt, then greedy continuation."""

    mode: str
    id: str
    given: int

    @property
    def key(self) -> tuple[str, str, int]:
        return self.mode, self.id, self.given


class AuditTokenizer(Protocol):
    """The part of ``data.Tokenizer`` that the audit uses."""

    bos_id: int | None

    def encode(self, text: str) -> Iterable[Any]: ...

    def encode_control(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...


def read_audit_rows(path: str | os.PathLike) -> tuple[list[AuditRow], list[BadRecord]]:
    """Training rows of a JSONL file under the published column names, and its bad lines.

    Raises:
      InputError: the file cannot be read or holds no usable row.
    """
    rows, bad = [], []
    for number, row in json_lines.parse(jsonl.read_text(path, "rows")):
        try:
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            story = next((row[name] for name in _STORY_FIELDS if isinstance(row.get(name), str)), "")
            if not story.strip():
                raise ValueError(f"no human story in any of {', '.join(_STORY_FIELDS)}")
            reasoning = next((row[name] for name in _REASONING_FIELDS if isinstance(row.get(name), str)), "")
            name = str(row.get("id", row.get("uid", number)))
            rows.append(AuditRow(name, first_user_message(row.get("prompt")), story, reasoning))
        except ValueError as error:
            bad.append(BadRecord(str(path), number, str(error)))
    if not rows:
        reason = f"line {bad[0].line}: {bad[0].reason}" if bad else "it is empty"
        raise InputError("rows", str(path), f"has no training row; {reason}")
    return rows, bad


def sample_rows(rows: Sequence[AuditRow], count: int = SAMPLE, seed: int = SEED) -> list[AuditRow]:
    """At most ``count`` rows, the same ones for the same seed."""
    return list(rows) if len(rows) <= count else random.Random(seed).sample(list(rows), count)


def plain(prompt: str) -> str:
    """The prompt of a model without a chat template: it continues the text."""
    return f"{prompt}\n\n"


def attack_text(mode: str, row: AuditRow, render: Callable[[str], str] = plain, *, as_released: bool = False) -> str:
    """The text that the model reads before the first story token.

    ``gold_thinking`` ends after the closed thinking block with the row's reasoning; ``prompt_only`` ends where the
    template ends. The published audit repeats the template's opening tag (``as_released``).

    Args:
      render: the chat template: prompt → the text before the answer.
    """
    prompt = render(row.prompt)
    if mode == "prompt_only":
        return prompt
    if _opens_thinking(prompt) and not as_released:
        prompt = prompt[: prompt.rindex("<think>")]
    return f"{prompt}<think>\n{row.reasoning.rstrip()}\n</think>\n"


def plan_attacks(
    rows: Sequence[AuditRow],
    story_tokens: Mapping[str, Sequence[int]],
    modes: Sequence[str] = MODES,
    prefixes: Sequence[int] = PREFIXES,
) -> list[Attack]:
    """Every applicable attack: a prefix shorter than the story; gold thinking where there is reasoning."""
    attacks = []
    for row in rows:
        if "gold_thinking" in modes and row.reasoning:
            attacks += [Attack("gold_thinking", row.id, k) for k in prefixes if k < len(story_tokens[row.id])]
        if "prompt_only" in modes:
            attacks.append(Attack("prompt_only", row.id, 0))
    return attacks


def run_audit(
    rows: Sequence[AuditRow],
    tokenizer: AuditTokenizer,
    continue_all: Callable[[list[list[int]], int], list[list[int]]],
    out: str | os.PathLike,
    *,
    render: Callable[[str], str] = plain,
    identity: str = "",
    modes: Sequence[str] = MODES,
    prefixes: Sequence[int] = PREFIXES,
    continuation: int = CONTINUATION,
    batch: int = 8,
    as_released: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict]:
    """Makes the attacks that are not yet in ``out``, in batches, and returns all records.

    Args:
      continue_all: greedy continuations: ``(prompts as token ids, most new tokens)`` → new tokens of each.
      out: JSONL of records, one per attack; rewritten whole after every batch, so a killed audit continues.
      render: the chat template; by default the model continues the text.
      identity: of model and template; attacks with another identity are made again.
      continuation: most new tokens.
      progress: called after every batch with the number of finished attacks and of all attacks of this call.

    Raises:
      InputError: an unknown mode.
    """
    for mode in modes:
        if mode not in MODES:
            raise InputError("modes", mode, f"one of {', '.join(MODES)}")
    by_id = {row.id: row for row in rows}
    stories = {row.id: [int(t) for t in tokenizer.encode(row.story)] for row in rows}
    attacks = plan_attacks(rows, stories, modes, prefixes)
    settings = f"{identity}/{_digest(rows)}/{continuation}/{as_released}"
    kept = {(r["mode"], r["id"], r["prefix_tokens"]): r for r in jsonl.read(out) if r.get("settings") == settings}
    todo = [attack for attack in attacks if attack.key not in kept]
    for first in range(0, len(todo), batch):
        some = todo[first : first + batch]
        prompts = []
        for attack in some:
            head = attack_text(attack.mode, by_id[attack.id], render, as_released=as_released)
            prompts.append([*encode_prompt(tokenizer, head), *stories[attack.id][: attack.given]])
        for attack, prompt, written in zip(some, prompts, continue_all(prompts, continuation), strict=True):
            rendered = render(by_id[attack.id].prompt)
            opened = attack.mode == "prompt_only" and not as_released and _opens_thinking(rendered)
            story = strip_thinking(tokenizer.decode(written), opened=opened)
            found = overlap([int(t) for t in tokenizer.encode(story)], stories[attack.id][attack.given :])
            kept[attack.key] = {
                "mode": attack.mode,
                "id": attack.id,
                "prefix_tokens": attack.given,
                "prompt_tokens": len(prompt),
                "generated_tokens": len(written),
                **asdict(found),
                "text": story,
                "settings": settings,
            }
        jsonl.write(out, [kept[attack.key] for attack in attacks if attack.key in kept])
        progress(first + len(some), len(todo))
    return [kept[attack.key] for attack in attacks]


def encode_prompt(tokenizer: AuditTokenizer, text: str) -> list[int]:
    """Token ids of a rendered prompt, with control tokens, and with BOS first if the tokenizer has one."""
    ids = tokenizer.encode_control(text)
    return ids if tokenizer.bos_id is None or ids[:1] == [tokenizer.bos_id] else [tokenizer.bos_id, *ids]


def _opens_thinking(text: str) -> bool:
    return text.rstrip().endswith("<think>")


def _digest(rows: Sequence[AuditRow]) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]
