"""The joint between two rooms of one floor that neither may make itself: a training run's checkpoint → a sampler."""

import os

from polaris_jax.data import load_tokenizer


def open_sampler(checkpoint: str | os.PathLike, max_length: int):
    """A sampler over a training run's newest checkpoint or a Hugging Face folder."""
    from polaris_jax.sampling import Sampler
    from polaris_jax.training import load_weights

    config, params, folder = load_weights(checkpoint)
    return Sampler(params, config, load_tokenizer(str(folder)), max_length=max_length, prefill_chunk=64,
                   first_capacity=min(max_length, 2048))
