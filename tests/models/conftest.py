"""Tiny configs of every family, and the one real model, converted once per machine."""

from functools import lru_cache

import jax
import pytest

from polaris_jax.models import ModelConfig, init_params, logits

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
FAMILY = {
    "llama": {
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mistral": {"sliding_window": 9},
    "ministral3": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "beta_fast": 4.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        }
    },
    "qwen2": {},
    "qwen3": {},
    "qwen3_5_text": {
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 12,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [1, 1, 0],
            "mrope_interleaved": True,
        },
    },
}


def hf_config(family: str, **changes) -> dict:
    return TINY | FAMILY[family] | {"model_type": family} | changes


def tiny(family: str, **changes) -> ModelConfig:
    return ModelConfig.from_hf(hf_config(family, **changes))


@lru_cache
def weights(config: ModelConfig):
    """Weights larger than at initialisation, so that attention is peaked and a mistake shows."""

    def larger(path, weight):
        if path[-1].key.endswith("_bias"):  # zero at initialisation
            return jax.random.normal(jax.random.key(weight.shape[-1]), weight.shape)
        return 1.5 * weight

    return jax.tree_util.tree_map_with_path(larger, init_params(config, jax.random.key(0)))


run = jax.jit(logits, static_argnums=1)


@pytest.fixture(params=FAMILY)
def config(request) -> ModelConfig:
    """One tiny config per family."""
    return tiny(request.param)


# For tests of what all families share: a decoder of attention layers and a hybrid run by default, the others are slow.
few_families = pytest.mark.parametrize(
    "config",
    [
        family if family in ("llama", "qwen3_5_text") else pytest.param(family, marks=pytest.mark.slow)
        for family in FAMILY
    ],
    indirect=True,
)
