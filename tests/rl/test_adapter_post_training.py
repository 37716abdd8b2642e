"""Post-training of an adapter: the sampler uses the adapter of the last update over an unchanged base."""

from importlib.resources import files

import jax
import numpy as np
import pytest

from polaris_jax.models import from_pretrained
from polaris_jax.rl import post_train
from polaris_jax.training import load_weights, read_metrics

NOVEL = str(files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt")


@pytest.fixture
def config(make_config):
    config = make_config()
    config.data.update({"kind": "passages", "train": NOVEL, "words": (4, 12), "max_prompt_tokens": 200, "limit": 6})
    config.rollout.max_tokens = 48
    config.rl.window = 256
    config.rewards.length.min_words = 1
    config.adapter.update({"rank": 4, "base": "int8"})
    config.train.steps = 2
    return config


@pytest.mark.parametrize("objective", ["grpo", "orpo"])
def test_an_adapter_is_post_trained(config, objective, tmp_path):
    config.rl.objective = objective
    post_train(config, tmp_path / "run", devices=jax.devices()[:1])
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2]
    assert any(line["grad_norm"] > 0 for line in lines)  # a step whose rewards are equal teaches nothing
    if objective == "grpo":
        # The sampler's log-probabilities are the learner's, before and after the factors have moved.
        assert all(line["sampler/gap"] < 1e-4 for line in lines)
    _, params, _ = load_weights(tmp_path / "run")
    base = from_pretrained(config.model.path).params
    moved = {
        jax.tree_util.keystr(path): bool(np.any(np.asarray(a) != np.asarray(b)))
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(base), strict=True)
    }
    assert moved["['blocks']['0']['attention']['q']"]
    assert not moved["['embed']['embedding']"]
    assert not moved["['norm']['scale']"]
