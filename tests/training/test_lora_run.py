"""A run that trains an adapter: resumed, evaluated, written out and opened as a run of full training is."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from polaris_jax.converting import convert
from polaris_jax.errors import InputError
from polaris_jax.models import from_pretrained
from polaris_jax.training import load_weights, train

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
