"""A run that trains an adapter: resumed, evaluated, written out and opened as a run of full training is."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from processes import environment

from polaris_jax.converting import convert
from polaris_jax.errors import InputError
from polaris_jax.models import from_pretrained
from polaris_jax.training import load_weights, read_metrics, train

TOKENS = np.arange(3, 40, dtype=np.int32)[None]


@pytest.fixture(scope="module", name="run_config")
def _run_config(make_config):
    def make(**adapter):
        config = make_config()
        config.adapter.update({"rank": 4, "targets": ("q_proj", "mlp"), **adapter})
        config.optim.learning_rate = 1e-2
        config.train.steps = 4
        config.eval.update({"every": 4, "split": "", "rows": 2})
        return config

    return make


@pytest.fixture(scope="module", name="run")
def _run(run_config, tmp_path_factory):
    """A QLoRA run of 4 steps, its records and its folder."""
    folder, records = tmp_path_factory.mktemp("lora") / "run", []
    train(run_config(base="nf4"), folder, on_step=records.append)
    return folder, records


def test_the_loss_falls_and_a_checkpoint_holds_the_adapter_alone(run, make_config):
    folder, records = run
    losses = [record["loss"] for record in records]
    assert losses[-1] < losses[0]  # four steps of a low rank move it little
    model = sum(file.stat().st_size for file in Path(make_config().model.path).glob("*.safetensors"))
    adapter = sum(
        file.stat().st_size for file in (folder / "checkpoints" / "4" / "params").rglob("*") if file.is_file()
    )
    assert adapter < model / 3
    assert records[-1]["eval/loss"] > 0


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(run, run_config, tmp_path):
    _, want = run
    config = run_config(base="nf4")
    config.train.update({"steps": 4, "checkpoint_every": 2})

    class Stopped(Exception):
        pass

    def stop(record):
        if record["step"] == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(config, tmp_path / "run", on_step=stop)
    records = []
    train(config, tmp_path / "run", on_step=records.append)
    assert [record["step"] for record in records] == [3, 4]
    for have, expected in zip(records, want[2:], strict=True):
        assert (have["loss"], have["grad_norm"]) == (expected["loss"], expected["grad_norm"])
    other = run_config(base="int8")
    with pytest.raises(InputError, match=r"adapter\.base is 'nf4'"):
        train(other, tmp_path / "run")


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_losses_and_factors(run, run_config, tmp_path):
    """SIGKILL at any moment after the second step's record; a new process goes on."""
    whole, _ = run
    config = run_config(base="nf4")
    config.train.checkpoint_every = 1
    config.eval.every = 0
    program = (
        "import json, sys, jax\n"
        "jax.config.update('jax_num_cpu_devices', 8)\n"
        "from ml_collections import ConfigDict\n"
        "from polaris_jax.training import train\n"
        "train(ConfigDict(json.loads(sys.argv[1])), sys.argv[2])\n"
    )
    command = [sys.executable, "-c", program, config.to_json(), str(tmp_path / "run")]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    while process.poll() is None and len(read_metrics(tmp_path / "run")) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()[-1500:]
    assert len(read_metrics(tmp_path / "run")) < 4
    subprocess.run(command, env=environment(), check=True)

    def losses(folder):
        return [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(folder)]

    assert losses(tmp_path / "run") == losses(whole)
    for folder in (tmp_path / "run", whole):
        convert(str(folder), f"{folder}-peft", to="peft")
    ours, theirs = (Path(f"{folder}-peft", "adapter_model.safetensors") for folder in (tmp_path / "run", whole))
    assert ours.read_bytes() == theirs.read_bytes()


def test_of_new_tokens_alone_the_rows_learn(run_config, tmp_path):
    config = run_config(embeddings=True, embeddings_from=300)
    config.optim.weight_decay = 0.1  # moves what has no gradient
    config.train.steps = 2
    config.eval.every = 0
    train(config, tmp_path / "run")
    before = from_pretrained(config.model.path).params["embed"]["embedding"]
    after = load_weights(tmp_path / "run")[1]["embed"]["embedding"]
    np.testing.assert_array_equal(after[:300], before[:300])
    assert (np.asarray(after[300:]) != np.asarray(before[300:])).any(axis=1).mean() > 0.5
    with pytest.raises(InputError, match=r"embeddings_from.*none learns"):
        train(run_config(embeddings=True, embeddings_from=10**6), tmp_path / "other")


def test_a_run_opens_as_its_base_model_with_the_adapter_merged(run, make_config, tmp_path):
    folder, _ = run
    for to in ("hf", "peft"):
        convert(str(folder), str(tmp_path / to), to=to)
    settings = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert settings["target_modules"] == ["down_proj", "gate_proj", "q_proj", "up_proj"]
    assert settings["base_model_name_or_path"] == make_config().model.path
    config, params, _ = load_weights(folder)
    merged = from_pretrained(tmp_path / "hf")
    want = np.asarray(merged(TOKENS))
    assert np.abs(want - np.asarray(from_pretrained(make_config().model.path)(TOKENS))).max() > 0.05
    np.testing.assert_array_equal(np.asarray(from_pretrained(tmp_path / "peft")(TOKENS)), want)
    assert config == merged.config
    jax.tree.map(np.testing.assert_array_equal, params, merged.params)
