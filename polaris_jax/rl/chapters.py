"""Groups of whole chapters under a plan: book-scale tasks taken from a trajectory store.

A task's prompt is the transcript up to the prose of a chapter: the request, the book's plan, the earlier chapters, and
this chapter's scenes. The group writes the chapter; the human reference is the novel's own chapter.
"""

import re
from collections.abc import Iterator

import numpy as np

from polaris_jax import trajectory
from polaris_jax.data import Tokenizer, TokenStore
from polaris_jax.errors import InputError
from polaris_jax.rewards.length import count_words
from polaris_jax.rl.tasks import RlTask

FENCE = "\n```"


def chapter_tasks(
    store: TokenStore,
    tokenizer: Tokenizer,
    *,
    split: str = "train",
    max_prompt: int = 65536,
    max_response: int = 8192,
    limit: int = 0,
) -> tuple[list[RlTask], dict[str, int]]:
    """One task for every chapter of the store whose plan and earlier text fit.

    Args:
      split: a split of the store's authors; "" takes all.
      max_prompt, max_response: tokens; chapters beyond either are left out.
      limit: use only this many, evenly spread; 0 is all.

    Returns:
      ``(tasks, counts)``; the counts say what was left out.

    Raises:
      InputError: no chapter fits.
    """
    tasks, counts = [], {"long_prompts": 0, "long_references": 0}
    known = any("split" in store.meta(i) for i in range(len(store)))
    chosen = store.where(split=split) if split and known else np.arange(len(store))
    for index in chosen.tolist():
        text = tokenizer.decode(store.read(index).tokens)
        for number, (start, end, request) in enumerate(_chapters(text)):
            prompt = tokenizer.encode(text[:start])
            if tokenizer.bos_id is not None:
                prompt = np.concatenate([np.array([tokenizer.bos_id], np.int32), prompt])
            human = tokenizer.encode(text[start:end])
            if len(prompt) > max_prompt or len(human) > max_response:
                counts["long_prompts" if len(prompt) > max_prompt else "long_references"] += 1
                continue
            said = text[start:end].removesuffix(trajectory.EOT)
            tasks.append(
                RlTask(
                    f"{index}/{number}",
                    prompt,
                    request,
                    tokenizer.eot_id,
                    count_words(said.removesuffix(FENCE)),
                    human,
                    said,
                    closing=FENCE,
                )
            )
    if not tasks:
        raise InputError(
            "config.data.train",
            store.path,
            f"no chapter fits {max_prompt} tokens of plan and {max_response} of text ({counts})",
        )
    if 0 < limit < len(tasks):
        tasks = [tasks[i] for i in np.linspace(0, len(tasks) - 1, limit).round().astype(int)]
    return tasks, counts


def _chapters(text: str) -> Iterator[tuple[int, int, str]]:
    """``(start of the prose, end of its stage, the request)`` of every chapter of a transcript."""
    parts = trajectory.split_stages(text)
    prose = [span.start for span in trajectory.spans(text) if span.kind == "prose"]
    for place, part in enumerate(parts):
        begins = [start for start in prose if part.start <= start < part.end]
        if not begins:
            continue
        plan = next((other.text for other in reversed(parts[:place]) if other.role not in ("prompt", part.role)), "")
        yield begins[0], part.end, re.sub(r"\n{3,}", "\n\n", f"{parts[0].text}\n\n{plan}")
