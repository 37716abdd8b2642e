"""Earlier names of fields work wherever a config is written, and one line gives the new name."""

import json

import pytest
from ml_collections import ConfigDict

from polaris_jax.rl import default_rl_config, rl_config
from polaris_jax.training import apply_overrides
from polaris_jax.training.config import door


@pytest.fixture
def config():
    door._tell.cache_clear()
    config = default_rl_config()
    config.model.path, config.data.train = "model", "prompts.jsonl"
    return config


def test_in_a_config_file(config, capsys):
    config.rl.reference.peak = 0.2
    config.rl.update({"reference": {"warmup": 3}, "exclude_references": False})
    config.rl.reference_limit = 5.0
    rl = rl_config(config.copy_and_resolve_references()).rl
    assert (rl.human_reference.peak, rl.human_reference.warmup) == (0.2, 3)
    assert (rl.human_reference_limit, rl.exclude_human_references) == (5.0, False)
    said = capsys.readouterr().err.splitlines()
    assert said.count("config: reference is now called human_reference") == 1
    assert len(said) == 3


def test_on_the_command_line(config, capsys):
    apply_overrides(config, ["rl.reference.decay=40", "rl.reference_limit=7"])
    rl = rl_config(config).rl
    assert (rl.human_reference.decay, rl.human_reference_limit) == (40, 7.0)
    assert "reference_limit is now called human_reference_limit" in capsys.readouterr().err


def test_in_a_config_that_was_stored(config, capsys):
    stored = json.loads(config.to_json())
    stored["rl"]["reference"] = stored["rl"].pop("human_reference") | {"peak": 0.3}
    assert rl_config(ConfigDict(stored)).rl.human_reference.peak == 0.3
    assert "rl.reference is now called rl.human_reference" in capsys.readouterr().err


def test_names_of_today_need_no_word(config, capsys):
    config.rl.human_reference.peak = 0.1
    assert rl_config(config).rl.human_reference.peak == 0.1
    assert not capsys.readouterr().err
