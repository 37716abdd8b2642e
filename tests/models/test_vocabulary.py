"""Growing a vocabulary."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.models import init_params
from polaris_jax.models.vocabulary import grow_vocabulary

from .conftest import run, tiny


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padded", [0, 99, 104])
def test_new_tokens_start_at_the_mean_and_old_logits_stay(tied, padded):
    config = replace(tiny("llama", tie_word_embeddings=tied), vocab_rows=padded)
    params = init_params(config, jax.random.key(0))
    tokens = jnp.arange(12)[None]
    grown, bigger = grow_vocabulary(params, config, 100)
    before, after = run(params, config, tokens), run(grown, bigger, tokens)
    assert after.shape == (1, 12, 100)
    np.testing.assert_allclose(after[..., :97], before, atol=1e-5)
    np.testing.assert_allclose(after[..., 97:], np.repeat(before.mean(-1, keepdims=True), 3, -1), atol=1e-4)
    assert grown["embed"]["embedding"].shape[0] == max(padded, 100)


def test_shrinking_is_refused():
    config = tiny("llama")
    with pytest.raises(InputError, match="97"):
        grow_vocabulary(init_params(config, jax.random.key(0)), config, 90)
