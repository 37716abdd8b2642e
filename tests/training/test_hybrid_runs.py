"""Whole runs of hybrids on ``context`` 4, in processes of their own: as on one device, and as before a SIGKILL."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from processes import assert_same_weights, command_of, environment, lines

from polaris_jax.corpus import BuildOptions, build_library
from polaris_jax.data import load_tokenizer
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.training import default_config, read_metrics

pytestmark = pytest.mark.slow

WINDOW = 2048
NOVELS = ("carroll_alice-in-wonderland.txt", "london_the-call-of-the-wild.txt")
CORPUS = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "corpus"
HYBRID = {
    "model_type": "qwen3_5_text",
    "linear_conv_kernel_dim": 4,
    "max_position_embeddings": WINDOW,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
}
# Two of three layers of SmolLM2-135M are gated delta rules with as many numbers in their memories as nine heads of 64.
SMOLLM = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"] * 10,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "linear_num_key_heads": 9,
    "linear_num_value_heads": 9,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
}
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}


def run(config, workdir, folder, devices, *, kill_at=None):
    """``polaris train`` on so many devices, killed once it has done ``kill_at`` steps; the exit code."""
    command = [*command_of(config, workdir, folder), f"--devices={devices}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment(), **quiet) as process:
        while kill_at and process.poll() is None:
            if len(read_metrics(workdir)) >= kill_at:
                process.kill()
                break
            time.sleep(0.05)
        return process.wait()


def hybrid_config(folder, store, shape, context):
    """Six float32 steps over ``store`` with a random model of this shape and the tokenizer in ``folder/model``."""
    tokenizer, model = load_tokenizer(folder / "model"), folder / f"hybrid-{shape['hidden_size']}"
    if not model.exists():
        import jax

        full = ModelConfig.from_hf(HYBRID | shape | {"vocab_size": tokenizer.vocab_size})
        save_pretrained(Decoder(full, init_params(full, jax.random.key(0))), str(model))
        tokenizer.save(str(model))
    config = default_config()
    config.model.update({"path": str(model), "compute_dtype": "float32", "attention_block": 128})
    config.mesh.update({"fsdp": 1, "context": context})
    config.data.update({"store": str(store), "window": WINDOW, "batch_size": 1, "threads": 1})
    config.optim.update({"learning_rate": 2e-3, "warmup": 1, "newton_schulz_dtype": "float32"})
    config.train.update({"steps": 6, "checkpoint_every": 2, "tensorboard": False})
    return config


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}; set POLARIS_SHARED")
def test_a_hybrid_of_the_size_of_smollm_learns_from_two_novels_on_four_shards_as_on_one(material, tmp_path):
    options = BuildOptions(window=WINDOW, chapters=(2, 2), per_book=6, shares=(1.0, 0.0, 0.0))
    build_library([CORPUS / novel for novel in NOVELS], tmp_path / "store", load_tokenizer(material / "model"), options)
    found = {}
    for context in (1, 4):
        config = hybrid_config(material, tmp_path / "store", SMOLLM, context)
        config.train.update({"steps": 3, "checkpoint_every": 3})
        assert run(config, tmp_path / f"run-{context}", tmp_path, context) == 0
        found[context] = read_metrics(tmp_path / f"run-{context}")
    losses = {context: [line["loss"] for line in found[context]] for context in found}
    assert losses[1][-1] < losses[1][0]
    assert [line["supervised"] for line in found[4]] == [line["supervised"] for line in found[1]]
    # Before the first update shards differ by float32 sums alone, in thirty layers of some ten sums after one another.
    # An update with Muon makes all singular values one, the small ones too, which are made of such differences.
    np.testing.assert_allclose(losses[4][0], losses[1][0], rtol=300 * 2**-24)
    np.testing.assert_allclose(losses[4], losses[1], rtol=2e-3)


def test_killed_on_four_shards_a_hybrid_resumes_to_the_same_bits(material, tmp_path):
    config = hybrid_config(material, material / "store", SMALL, 4)
    assert run(config, tmp_path / "whole", tmp_path, 4) == 0
    for kill_at in (1, 3):
        assert run(config, tmp_path / "killed", tmp_path, 4, kill_at=kill_at) == -signal.SIGKILL
        assert len(lines(tmp_path / "killed")) < 6
    assert run(config, tmp_path / "killed", tmp_path, 4) == 0
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")
