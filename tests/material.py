"""What a small run needs: a random model with a tokenizer of its own, and a real store of the bundled novel."""

from importlib.resources import files
from pathlib import Path

import jax

from polaris_jax.corpus import BuildOptions, build_library, find_books, plan_novel
from polaris_jax.data import train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.scaffold import DeterministicAnnotator
from polaris_jax.trajectory import render


def make_material(root: Path, window: int) -> Path:
    """Fills a folder with ``model/`` (32 wide, 2 layers) and ``store/`` (mini volumes of the novel); returns it."""
    options = BuildOptions(window=window, chapters=(2, 2), shares=(1.0, 0.0, 0.0))
    paths = find_books([files("polaris_jax") / "library" / "books" / "*.txt"])
    rough = BuildOptions(window=4 * window, chapters=(2, 2))
    sample = list(map(render, plan_novel(read_novel(paths[0]), DeterministicAnnotator(), rough, len)))
    tokenizer = train_sentencepiece(sample, 1000)
    config = ModelConfig.from_hf({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": window, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": True,
    })
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), str(root / "model"))
    tokenizer.save(str(root / "model"))
    build_library(paths, root / "store", tokenizer, options, workers=1)
    return root
