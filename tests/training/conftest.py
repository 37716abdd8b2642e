"""A real store of the bundled novel, and a random model small enough to train in a test."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from polaris_jax.corpus import BuildOptions, build_library, find_books, plan_novel
from polaris_jax.data import train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.scaffold import DeterministicAnnotator
from polaris_jax.training import default_config
from polaris_jax.trajectory import render

WINDOW = 2048


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> Path:
    """A folder with ``model/`` (32 wide, 2 layers, own tokenizer) and ``store/`` (mini volumes of the novel)."""
    root = tmp_path_factory.mktemp("material")
    options = BuildOptions(window=WINDOW, chapters=(2, 2), shares=(1.0, 0.0, 0.0))
    paths = find_books([files("polaris_jax") / "library" / "books" / "*.txt"])
    rough = BuildOptions(window=4 * WINDOW, chapters=(2, 2))
    sample = list(map(render, plan_novel(read_novel(paths[0]), DeterministicAnnotator(), rough, len)))
    tokenizer = train_sentencepiece(sample, 1000)
    config = ModelConfig.from_hf({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": WINDOW, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": True,
    })
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), str(root / "model"))
    tokenizer.save(str(root / "model"))
    build_library(paths, root / "store", tokenizer, options, workers=1)
    return root


@pytest.fixture(scope="session")
def make_config(material) -> Callable[[], ConfigDict]:
    """Fresh configs over ``material``: 8 steps in float32 on fsdp 2 × context 4."""

    def make():
        config = default_config()
        config.model.update({"path": str(material / "model"), "compute_dtype": "float32", "attention_block": 128})
        config.mesh.update({"fsdp": 2, "context": 4})
        config.data.update({"store": str(material / "store"), "window": WINDOW, "batch_size": 2, "threads": 1})
        config.optim.update({"learning_rate": 2e-2, "warmup": 1, "newton_schulz_dtype": "float32"})
        config.train.update({"steps": 8, "checkpoint_every": 2})
        return config

    return make
