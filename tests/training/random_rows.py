"""Small decoders of every family, and packed rows of random tokens for them; one token comes thousands of times."""

from dataclasses import dataclass

import numpy as np

from polaris_jax.models import ModelConfig

VOCAB = 256
FREQUENT = 0
SHAPE = {
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "tie_word_embeddings": False,
}
FAMILIES = {
    "llama": {},
    "llama, tied": {"tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", "sliding_window": 9},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": True},
    "qwen3_5": {
        "model_type": "qwen3_5_text",
        "layer_types": ["linear_attention", "full_attention"],
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    },
}


def decoder(family: str) -> ModelConfig:
    """Two layers, 32 wide, four heads."""
    return ModelConfig.from_hf(SHAPE | FAMILIES[family])


@dataclass(frozen=True)
class Rows:
    """``rows`` rows of ``each`` documents of ``length`` tokens; half of all tokens or more are ``FREQUENT``.

    The others come as often as Zipf's law says. A tenth of the places has no weight.
    """

    rows: int
    each: int
    length: int

    def documents(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(tokens, targets, weights)``, each ``[rows * each, length]``."""
        draw, chance = np.random.default_rng(0), 1 / np.arange(1, VOCAB + 1)
        chance[FREQUENT] = 2 * chance[1:].sum()
        tokens = draw.choice(VOCAB, (self.rows * self.each, self.length), p=chance / chance.sum()).astype(np.int32)
        return tokens, np.roll(tokens, -1, 1), (draw.random(tokens.shape) < 0.9).astype(np.float32)

    def batch(self) -> dict[str, np.ndarray]:
        """The documents as packed rows, as ``data.Batches`` has them."""
        tokens, targets, weights = self.documents()
        numbers = np.tile(np.arange(1, self.each + 1), self.rows)[:, None]
        fields = {
            "tokens": tokens,
            "targets": targets,
            "weights": weights,
            "roles": np.zeros_like(tokens),
            "kinds": np.zeros_like(tokens),
            "segment_ids": np.broadcast_to(numbers, tokens.shape).astype(np.int32),
            "positions": np.broadcast_to(np.arange(self.length, dtype=np.int32), tokens.shape),
        }
        return {name: np.ascontiguousarray(field).reshape(self.rows, -1) for name, field in fields.items()}
