"""Stories by every method on every prompt, in one JSONL file; a killed run goes on, a failed story stops nobody."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.baselines.desk import Desk, count
from polaris_jax.evals.baselines.full_length import full_length
from polaris_jax.evals.baselines.methods import METHODS
from polaris_jax.evals.prompts import Prompt
from polaris_jax.llm import CallFailed, Client


def write_baselines(
    client: Client, prompts: Sequence[Prompt], methods: Sequence[str], file: str | os.PathLike, *, words: int = 0,
    temperature: float = 0.8, seed: int = 0, workers: int = 4,
    on_story: Callable[[dict], None] = lambda row: None,
) -> list[dict]:  # fmt: skip
    """Writes every story that is not in ``file`` yet.

    Args:
      words: length for all; 0 takes each prompt's own ``target_words``.
      workers: stories written at the same time (the client limits its calls by itself).

    Returns:
      The rows of the file: ``id, prompt, story, target_words, model`` (``METHOD/MODEL``), ``method, calls, tokens,
      notes``; a story that failed has ``story`` "" and an ``error``, and is tried again next time.

    Raises:
      InputError: an unknown method, or a prompt without a length.
      BudgetSpent: the client's budget is gone; what is written stays.
    """
    for method in methods:
        if method not in METHODS:
            raise InputError("--methods", method, f"use some of {', '.join(METHODS)}")
    for prompt in prompts:
        if not (words or prompt.target_words):
            raise InputError("--words", prompt.id, "this prompt asks for no length; give one for all")
    wanted = [(method, prompt) for prompt in prompts for method in methods]
    # What decides a story besides prompt and model, so that other settings write it anew.
    settings = {"temperature": temperature, "seed": seed}
    rows = {_key(row): row for row in jsonl.read(file) if not row.get("error")}
    lock = threading.Lock()

    def write(method: str, prompt: Prompt) -> None:
        length = words or prompt.target_words
        name = (f"{method}/{client.identity}", prompt.id)
        held = rows.get(name)
        if held and (held["prompt"], held["target_words"], held["settings"]) == (prompt.text, length, settings):
            return
        desk = Desk(client, temperature, seed, purpose=method)
        story, error = "", {}
        try:
            story = full_length(desk, prompt.text, METHODS[method](desk, prompt.text, length), length)
        except CallFailed as failure:
            error = {"error": str(failure)}
        row = {"id": prompt.id, "prompt": prompt.text, "story": story, "target_words": length, "model": name[0],
               "method": method, "words": count(story), "calls": desk.calls, "tokens": desk.tokens,
               "notes": desk.notes, "settings": settings, **error}  # fmt: skip
        with lock:
            rows[name] = row
            jsonl.write(file, rows.values())
        on_story(row)

    with ThreadPoolExecutor(workers, thread_name_prefix="story") as pool:
        for done in [pool.submit(write, *one) for one in wanted]:
            done.result()
    return list(rows.values())


def _key(row: dict) -> tuple[str, str]:
    return row["model"], row["id"]
