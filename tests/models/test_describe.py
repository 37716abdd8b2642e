"""Costs from the config alone."""

import math

import jax
import pytest

from polaris_jax.models import ModelConfig, init_cache
from polaris_jax.models.describe import describe
from polaris_jax.models.weights import abstract_params

from .conftest import tiny

# Released sizes and the parameter counts that their model cards or file indices state.
RELEASED = {
    "Llama 3.2 1B": (
        1_235_814_400,
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen3 0.6B": (
        596_049_920,
        "qwen3",
        {
            "vocab_size": 151936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen3.5 9B": (
        8_953_803_264,
        "qwen3_5_text",
        {
            "vocab_size": 248320,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 32,
            "layer_types": None,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
        },
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_of_released_sizes(name):
    count, family, sizes = RELEASED[name]
    assert describe(tiny(family, **sizes)).total == count


def test_parts_add_up_to_the_tree(config):
    stored = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config)))
    assert describe(config).total == stored


def test_flops_of_a_case_worked_by_hand():
    config = ModelConfig.from_hf(
        {
            "model_type": "llama",
            "vocab_size": 10,
            "hidden_size": 4,
            "intermediate_size": 6,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": 64,
        }
    )
    flops = describe(config).flops_per_token(32)
    assert flops.dense == 2 * (4 * 4 + 2 * 4 * 2 + 4 * 4 + 3 * 4 * 6 + 4 * 10)
    assert flops.attention == 2 * 2 * 4 * 32 / 2


def test_a_window_bounds_the_attention():
    full, window = describe(tiny("mistral", sliding_window=None)), describe(tiny("mistral", sliding_window=9))
    assert window.flops_per_token(4096).attention < 0.01 * full.flops_per_token(4096).attention
    assert window.flops_per_token(9) == full.flops_per_token(9)


def test_cache_bytes_are_what_the_cache_takes(config):
    blocks = jax.eval_shape(lambda: init_cache(config, 1, 50))["blocks"]
    taken = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(blocks))
    assert describe(config).cache_bytes(50, bytes_per_number=4) == taken
