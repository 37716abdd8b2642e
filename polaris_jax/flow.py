"""The joint between two rooms of one floor that neither may make itself: a training run's checkpoint → a sampler."""

import os

from polaris_jax.data import load_tokenizer

# From this many parameters on, a CPU gains more from layers that are not copied out of their stack than it loses to
# compiling each of them.
WORTH_UNSTACKING = 50_000_000


def open_sampler(checkpoint: str | os.PathLike, max_length: int):
    """A sampler over a training run's newest checkpoint or a Hugging Face folder."""
    import jax

    from polaris_jax.models import describe, unstack
    from polaris_jax.sampling import Sampler
    from polaris_jax.training import load_weights

    config, params, folder = load_weights(checkpoint)
    if jax.default_backend() == "cpu" and describe(config).total >= WORTH_UNSTACKING:
        params = unstack(params)
    return Sampler(params, config, load_tokenizer(str(folder)), max_length=max_length, prefill_chunk=64,
                   first_capacity=min(max_length, 2048))
