"""The smallest model of every family that spreads over a ``tensor`` axis of 8, and rows of two documents for it."""

import jax
import numpy as np

from polaris_jax.models import ModelConfig, init_params
from polaris_jax.sharding import make_mesh
from polaris_jax.training import default_config, train_config

ROPE = {"rope_type": "default", "rope_theta": 1e4}
BASE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_parameters": ROPE,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "llama_4_scaling_beta": 0.1,
}
QWEN3_5 = {
    "model_type": "qwen3_5_text",
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 8,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 4,
    "linear_conv_kernel_dim": 4,
    "tie_word_embeddings": True,
}
SHAPES = {
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "sliding_window": 24},
    "ministral3": {"model_type": "ministral3", "rope_parameters": YARN, "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "qwen3_5_text": QWEN3_5,
}


def shape(family: str, rotary: float | None = None, **fields) -> dict:
    """``config.json`` of the family's smallest model; ``rotary``: the share of a head that is rotated."""
    found = BASE | SHAPES[family] | fields
    return found | ({"partial_rotary_factor": rotary} if rotary else {})


def model_and_params(family: str, **fields):
    """Config and float32 parameters, whose gains are not all one."""
    config = ModelConfig.from_hf(shape(family, **fields))
    keys = iter(jax.random.split(jax.random.key(1), 100))

    def moved(path, x):
        name = jax.tree_util.keystr(path)
        return x + 0.3 * jax.random.normal(next(keys), x.shape) if "norm" in name or "bias" in name else x

    return config, jax.tree_util.tree_map_with_path(moved, init_params(config, jax.random.key(0)))


def two_documents(rows: int = 2, length: int = 64, vocabulary: int = 96) -> dict[str, np.ndarray]:
    """A batch of rows that hold two documents each, in storage order."""
    draw = np.random.default_rng(0)
    zeros = np.zeros((rows, length), np.int32)
    tokens = draw.integers(0, vocabulary, (rows, length)).astype(np.int32)
    return {
        "tokens": tokens,
        "targets": np.roll(tokens, -1, axis=1),
        "weights": draw.uniform(size=(rows, length)).astype(np.float32),
        "roles": zeros,
        "kinds": zeros,
        "segment_ids": np.repeat([[1, 2]], length // 2, axis=1).repeat(rows, axis=0).astype(np.int32),
        "positions": np.tile(np.arange(length // 2, dtype=np.int32), (rows, 2)),
    }


def options(adapter: dict | None = None, **fields):
    """The config of a float32 step of such a model, with these fields of ``adapter`` and of ``model``."""
    config = default_config()
    config.model.update({"path": "any", "compute_dtype": "float32", "attention_block": 16, "remat": "full", **fields})
    config.loss.update({"chunk": 24, "z_loss": 1e-3})
    config.adapter.update(adapter or {})
    return train_config(config, data=False)


def on(mesh_shape: dict[str, int]):
    """A mesh of this shape over the first devices."""
    return make_mesh(mesh_shape, devices=jax.devices()[: int(np.prod(list(mesh_shape.values())))])
