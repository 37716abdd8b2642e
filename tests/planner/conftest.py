"""Shapes of models without weights, the compiler's files of one real step, and verdicts kept out of the home folder.

``data/`` holds what libtpu 0.0.42 wrote for four layers of the 14B at 262,144 tokens on v5p-8 (context 4, remat full),
cut down to the lines that the readers look at: once with collectives that ride in fusions, once on SparseCores.
"""

import gzip
import json
from pathlib import Path

import pytest
from benchmark_scripts import load

from polaris_jax.training.config import apply_overrides, default_config, train_config

DATA = Path(__file__).parent / "data"

_runs = load("time_model")
LLAMA_2_7B, LLAMA_3_1_8B = _runs.LLAMA_2_7B, _runs.LLAMA_3_1_8B  # of the published runs
SMALL = LLAMA_2_7B | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 8192,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path / "plans"))


@pytest.fixture
def small(tmp_path):
    """A config of a model of 80 million parameters at 65,536 tokens; call with overrides."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))

    def make(*overrides):
        config = default_config()
        config.model.path = str(folder)
        config.model.update({"remat": "full", "segments": 1, "mlp_chunk": 2048, "attention_block": 1024})
        config.optim.update({"precision": "bf16_stochastic", "state_dtype": "bfloat16"})
        config.data.window = 65536
        return train_config(apply_overrides(config, overrides), data=False)

    return make


def program_text(name):
    return gzip.decompress((DATA / f"step_{name}.hlo.gz").read_bytes()).decode()
