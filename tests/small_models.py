"""Models of two layers, 32 wide, small enough for every test: a configuration, and a folder with random weights."""

from pathlib import Path

import jax

from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.models.config import LinearAttention
from polaris_jax.ops.rotary import Rope


def small_config(vocab_size: int, kind: str = "llama") -> ModelConfig:
    """32 wide, four heads; ``qwen3_5_text`` has a layer of linear attention below one of full attention."""
    hybrid = kind == "qwen3_5_text"
    return ModelConfig(
        model_type=kind,
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        rope=Rope(theta=10000.0, dim=8),
        norm_eps=1e-5,
        tie_embeddings=True,
        layer_types=("linear_attention", "full_attention") if hybrid else ("full_attention",) * 2,
        max_positions=65536,
        linear=LinearAttention(2, 2, 8, 8, 4) if hybrid else None,
    )


def save_small_llama(folder: str | Path, vocab_size: int, max_positions: int) -> None:
    """Writes a Hugging Face folder with a llama of two layers and random weights; the tokenizer is the caller's."""
    config = ModelConfig.from_hf(
        {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": vocab_size,
            "max_position_embeddings": max_positions,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
        }
    )
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), str(folder))
