"""Runs on passages of the bundled novel whose judge is a stand-in behind HTTP, and published prompts on disk."""

import json
from importlib.resources import files

from servers import MODEL, completion

from polaris_jax.rewards.dimensions import DIMENSIONS

NOVEL = str(files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt")
SHEET = json.dumps({d.id: 0 if d.id in ("BONUS", "PENALTY") else 6 if d.sign > 0 else 2 for d in DIMENSIONS})
JUDGED = completion(SHEET)
ROWS = 8  # judged in a step: two prompts of three rollouts and a reference


def on_passages(config, base_url=""):
    """The config with six passages to write on and the judge at ``base_url``."""
    config.data.update({"kind": "passages", "train": NOVEL, "words": (4, 12), "max_prompt_tokens": 200, "limit": 6})
    config.rollout.max_tokens = 48
    config.rl.window = 256
    config.rewards.length.min_words = 1
    config.judge.update({"kind": "llm", "provider": "openai", "model": MODEL, "rubric": "brief", "concurrency": 4})
    config.judge.base_url = base_url
    return config


def on_prompts(config, folder, *rows):
    """The config with published prompts, one a step, and no judge; ``rows`` have ``prompt``, ``story``, ``uid``."""
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.data.update({"kind": "prompts", "train": str(file)})
    config.rl.prompts_per_step = 1
    config.rewards.length.min_words = 1
    return config
