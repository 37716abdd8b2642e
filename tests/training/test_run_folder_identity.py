"""The identity of a run's folder: runs of earlier versions resume under today's field names, other runs are refused."""

import json
from pathlib import Path

import pytest

from polaris_jax.errors import InputError
from polaris_jax.options import replace
from polaris_jax.rl import RlConfig
from polaris_jax.training.config import TrainConfig, flatten
from polaris_jax.training.run_folder import init_workdir

# What ``run.json`` held of the default configs before configs were typed.
ROWS = json.loads((Path(__file__).parent / "data" / "run_rows_before_typed_configs.json").read_text())
DATA = {"step": 0, "tasks": "abc"}
CONFIGS = {"train": TrainConfig(), "rl": RlConfig()}


@pytest.fixture
def folder(tmp_path):
    """``folder(verb, rows)``: writes a run's folder; returns a config with a model's path, and the folder."""

    def make(verb, rows):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_text(json.dumps({"identity": "", "config": rows, "data": DATA}))
        return replace(CONFIGS[verb], {"model.path": str(tmp_path)}), str(tmp_path / "run")

    return make


@pytest.mark.parametrize("verb", CONFIGS)
def test_a_run_of_before_is_resumed(folder, verb):
    config, place = folder(verb, ROWS[verb])
    init_workdir(place, config, DATA, 0)
    init_workdir(place, replace(config, {"mesh.fsdp": 2, "train.checkpoint_every": 7}), DATA, 0)


@pytest.mark.parametrize(
    ("verb", "change", "told"),
    [
        ("train", {"optim.learning_rate": 1e-3}, r"its optim\.learning_rate is 2e-05"),
        ("rl", {"rl.human_reference.peak": 0.1}, r"its rl\.human_reference\.peak is 0\.4"),
        ("rl", {"judge.model": "another"}, r"its judge\.model is 'gemini-3-flash-preview'"),
    ],
)
def test_another_config_is_refused(folder, verb, change, told):
    config, place = folder(verb, ROWS[verb])
    with pytest.raises(InputError, match=told):
        init_workdir(place, replace(config, change), DATA, 0)


def test_a_field_that_did_not_exist_was_at_its_default(folder):
    config, place = folder("train", {name: value for name, value in ROWS["train"].items() if name != "optim.qk_clip"})
    init_workdir(place, config, DATA, 0)
    with pytest.raises(InputError, match=r"qk_clip is 0\.0"):
        init_workdir(place, replace(config, {"optim.qk_clip": 85.0}), DATA, 0)


def test_what_is_written_is_what_an_earlier_version_wrote(tmp_path):
    (tmp_path / "run").mkdir()
    init_workdir(str(tmp_path / "run"), replace(TrainConfig(), {"model.path": str(tmp_path)}), DATA, 0)
    held = json.loads((tmp_path / "run" / "run.json").read_text())
    assert held["config"] | ROWS["train"] == held["config"]
    # Fields that did not exist then have their defaults, as when an earlier folder without them is read.
    defaults = json.loads(json.dumps(flatten(TrainConfig())))
    assert {name: defaults[name] for name in held["config"]} | ROWS["train"] == held["config"]
