"""Random models small enough to write whole books in seconds, and the text their vocabulary is learnt from."""

import jax
import numpy as np
from small_models import small_config

from polaris_jax.models import init_params
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.trajectory import mini_profile

TEXT = """
The keeper of the tide book ruled his columns every Friday and slept well on Saturdays. Nobody doubted him.
“Six o’clock on Tuesday,” he said. “That is when you have high water.”
## Book Highlight ## World Rules ### Arc 1: The House ### Chapter 1: The Lamp #### Scene 1: Fog
**Word Count:** 250 **Embedding Space:** action: 16, dialog: 19, world_building: 34, exposition: 49, romantic: 0
**Narrative Focuses:** the ledger; the boy **Chapter Summary:** - He waits. - She writes.
In the morning the harbour was white, and the boats lay as still as if they had been drawn there with a pen.
"""

PROMPT = "Write a small book about a lighthouse."
# Two chapters, one arc, short lines: a whole book in about two thousand tokens.
TINY = mini_profile(
    4096,
    chapters=(2, 2),
    arcs=(1, 1),
    chapter_words=(50, 60),
    scenes=(1, 2),
    bullet_chars=24,
    name_chars=16,
    focus_chars=10,
    perspective_chars=16,
    word_chars=6,
    highlight_words=(55, 57),
    archetype_words=(45, 47),
    rules=(1, 2),
)


def random_model(vocab_size: int, kind: str = "llama", seed: int = 0):
    config = small_config(vocab_size, kind)
    params = init_params(config, jax.random.key(seed))
    # At initialisation every next token is about as likely as any other; a louder embedding makes models differ.
    params["embed"]["embedding"] = params["embed"]["embedding"] * 12.0
    return params, config


def small_sampler(model, tokenizer, max_length: int = 4096) -> Sampler:
    return Sampler(*model, tokenizer, max_length=max_length, prefill_chunk=64, first_capacity=2048)


def ids(n: int, seed: int = 0) -> list[int]:
    """``n`` random tokens of text."""
    return np.random.default_rng(seed).integers(3, 400, n).tolist()
