"""The task of a group: a prompt in tokens, the token that ends a response, and the human text that answers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from polaris_jax.data import ChatTemplate, Tokenizer
from polaris_jax.data.prompt_story import PromptStory
from polaris_jax.errors import InputError
from polaris_jax.rewards import count_words, released, split_thinking

T = TypeVar("T")
OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class RlTask:
    """One prompt.

    Attributes:
      uid: unique in its set.
      prompt: ``[P] int32``, continued by every rollout of the group.
      request: the prompt as text, for judges and length rewards.
      end_id: the token that ends a response.
      target_words: the requested length; None when only ``request`` says.
      human_reference: ``[R] int32``, the human response with its end token; None without one.
      human_reference_text: the same decoded, without control tokens.
      thoughts: ``[T] int32``, the human reference's reasoning, which opens think-prefix rollouts; or None.
      opened: whether the prompt ends inside the thinking block.
      closing: text after the story at the end of a response (a fence).
    """

    uid: str
    prompt: np.ndarray
    request: str
    end_id: int
    target_words: int | None = None
    human_reference: np.ndarray | None = None
    human_reference_text: str = ""
    thoughts: np.ndarray | None = None
    opened: bool = False
    closing: str = ""

    @cached_property
    def human_reference_words(self) -> int:
        """Words of the human story without its reasoning, 0 without a story. A prompt that names no length uses it."""
        return count_words(split_thinking(self.story(self.human_reference_text), opened=self.opened).story)

    def story(self, text: str) -> str:
        """A decoded response without ``closing``."""
        return text.removesuffix(self.closing) if self.closing else text


def human_response(story: str, reasoning: str | None, *, opened: bool) -> str:
    """The human response as a model would have written it.

    Args:
      reasoning: the thinking before the story; None writes no thinking block.
      opened: whether the prompt already ends with the opening tag, which is then not repeated.

    Raises:
      InputError: a think tag inside the texts.
    """
    _refuse_tags(story, reasoning or "")
    if reasoning is None:
        return story
    return f"{'' if opened else OPEN + chr(10)}{reasoning.strip()}\n{CLOSE}\n\n{story}"


def _refuse_tags(story: str, reasoning: str) -> None:
    for name, text in (("story", story), ("ground_truth_reasoning", reasoning)):
        if OPEN in text or CLOSE in text:
            raise InputError(name, text, f"must not contain {OPEN} or {CLOSE}")


def prompt_tasks(
    rows: Sequence[PromptStory],
    template: ChatTemplate,
    *,
    thinking: bool = False,
    max_prompt: int = 256,
    max_response: int = 8192,
    as_released: bool = False,
) -> tuple[list[RlTask], dict[str, int]]:
    """Tasks of published prompts.

    Args:
      thinking: sets ``enable_thinking`` in the template; human references then need their reasoning.
      max_prompt, max_response: tokens. Longer prompts are left out. A human reference that is too long is left out of
        its group, because a story cut off in the middle is no reference; as released it is cut.

    Returns:
      ``(tasks, counts)``; counts of ``long_prompts`` and ``long_references``.

    Raises:
      InputError: no task is left, or a human reference has no reasoning when ``thinking``.
    """
    tokenizer = template.tokenizer
    end_id = tokenizer.eot_id if template.end_id is None else template.end_id
    tasks, counts = [], {"long_prompts": 0, "long_references": 0}
    for row in rows:
        messages = [{"role": "user", "content": row.prompt}]
        if row.system is not None:
            messages.insert(0, {"role": "system", "content": row.system})
        text = template.text(messages, add_generation_prompt=True, enable_thinking=thinking)
        opened = thinking and text.rstrip().endswith(OPEN)
        prompt = template.encode(messages, enable_thinking=thinking)
        if len(prompt) > max_prompt:
            counts["long_prompts"] += 1
            continue
        human, said, thoughts = None, "", None
        if row.story:
            if thinking and row.reasoning is None:
                raise InputError("ground_truth_reasoning", None, f"row {row.uid} needs it: thinking is on")
            if as_released and thinking:
                _refuse_tags(row.story, row.reasoning or "")
                said = released.human_response(row.story, row.reasoning or "")
            else:
                said = human_response(row.story, row.reasoning if thinking else None, opened=opened)
            human = np.append(tokenizer.encode(said), np.int32(end_id))
            if thinking:
                thoughts = tokenizer.encode(said[: said.index(CLOSE) + len(CLOSE)] + "\n" * (1 if as_released else 2))
            if len(human) > max_response:
                counts["long_references"] += 1
                human = human[:max_response] if as_released else None
        tasks.append(RlTask(row.uid, prompt, row.prompt, end_id, row.target_words, human, said, thoughts, opened))
    if not tasks:
        raise InputError("config.data.max_prompt_tokens", max_prompt, "every prompt is longer")
    return tasks, counts


def shuffled(tasks: Sequence[T], step: int, count: int, seed: int) -> list[T]:
    """The ``count`` tasks of a step: epochs over permutations that depend on (seed, epoch) only."""
    chosen = []
    for place in range(step * count, (step + 1) * count):
        epoch, index = divmod(place, len(tasks))
        order = np.random.default_rng([seed, epoch]).permutation(len(tasks))
        chosen.append(tasks[int(order[index])])
    return chosen


def decode_response(tokenizer: Tokenizer, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of a response without control tokens."""
    silent = set(tokenizer.special_ids)
    return tokenizer.decode([int(token) for token in tokens if int(token) not in silent])


def count_thoughts(pieces: Sequence[bytes], tokens: Sequence[int] | np.ndarray) -> int:
    """Tokens of a response up to the end of its first ``</think>``; 0 without one. A token counts by its middle.

    Args:
      pieces: ``tokenizer.token_bytes()``.
    """
    spelt = [pieces[int(token)] for token in tokens]
    found = b"".join(spelt).lower().find(CLOSE.encode())
    if found < 0:
        return 0
    ends = np.cumsum([len(piece) for piece in spelt])
    starts = ends - [len(piece) for piece in spelt]
    return int(((starts + ends) / 2 < found + len(CLOSE)).sum())
