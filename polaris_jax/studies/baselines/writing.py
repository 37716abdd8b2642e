"""Stories by every method on every prompt, in one JSONL file; a killed run continues, a failed story stops no other."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.prompts import Prompt
from polaris_jax.llm import CallFailed, Client
from polaris_jax.rewards import count_words
from polaris_jax.studies.baselines.full_length import full_length
from polaris_jax.studies.baselines.methods import METHODS
from polaris_jax.studies.baselines.story_client import StoryClient


def write_baselines(
    client: Client,
    prompts: Sequence[Prompt],
    methods: Sequence[str],
    file: str | os.PathLike,
    *,
    words: int = 0,
    temperature: float = 0.8,
    seed: int = 0,
    workers: int = 4,
    on_story: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Writes every story that is not in ``file``.

    Args:
      words: length for all; 0 takes each prompt's own ``target_words``.
      workers: stories written at the same time (the client limits its own calls).
      on_story: called with the row of every story that was written.

    Returns:
      The rows of the file: ``id, prompt, story, target_words, model`` (``METHOD/MODEL``), ``method, calls, tokens,
      notes``; a failed story has ``story`` "" and an ``error``, and is written again next time.

    Raises:
      InputError: an unknown method, or a prompt without a length.
      BudgetSpent: the client's budget is spent; stories written so far stay in the file.
    """
    for method in methods:
        if method not in METHODS:
            raise InputError("--methods", method, f"use some of {', '.join(METHODS)}")
    todo: list[tuple[str, Prompt, int]] = []
    for prompt in prompts:
        length = words or prompt.target_words
        if not length:
            raise InputError("--words", prompt.id, "this prompt asks for no length; give one for all")
        todo += [(method, prompt, length) for method in methods]
    # Settings that affect a story besides prompt and model: if they change, it is written again.
    settings = {"temperature": temperature, "seed": seed}
    rows = {_key(row): row for row in jsonl.read(file) if not row.get("error")}
    lock = threading.Lock()

    def write(method: str, prompt: Prompt, length: int) -> None:
        name = (f"{method}/{client.identity}", prompt.id)
        kept = rows.get(name)
        if kept and (kept["prompt"], kept["target_words"], kept["settings"]) == (prompt.text, length, settings):
            return
        writer = StoryClient(client, temperature, seed, purpose=method)
        story, error = "", {}
        try:
            story = full_length(writer, prompt.text, METHODS[method](writer, prompt.text, length), length)
        except CallFailed as failure:
            error = {"error": str(failure)}
        row = {
            "id": prompt.id,
            "prompt": prompt.text,
            "story": story,
            "target_words": length,
            "model": name[0],
            "method": method,
            "words": count_words(story),
            "calls": writer.calls,
            "tokens": writer.tokens,
            "notes": writer.notes,
            "settings": settings,
            **error,
        }
        with lock:
            rows[name] = row
            jsonl.write(file, rows.values())
        on_story(row)

    with ThreadPoolExecutor(workers, thread_name_prefix="story") as pool:
        for done in [pool.submit(write, *one) for one in todo]:
            done.result()
    return list(rows.values())


def _key(row: dict) -> tuple[str, str]:
    return row["model"], row["id"]
