"""The sampler's log-probabilities against the learner's: equal but for rounding, unless the distribution is cut."""

import jax
import pytest
from judged_runs import on_passages

from polaris_jax.rl import post_train

PLAIN = {}
CUT = {"rollout.temperature": 0.6, "rollout.top_k": 20, "rollout.top_p": 0.95, "rollout.repetition_penalty": 1.1}


@pytest.fixture
def measured(make_config, tmp_path):
    """``measured({field: value})``: the record of one step without judge and references."""

    def run(fields):
        config = on_passages(make_config())
        config.judge.kind = "none"
        config.train.steps = 1
        config.rl.reference.peak = 0.0
        for name, value in fields.items():
            section, field = name.split(".")
            config[section][field] = value
        records = []
        post_train(config, tmp_path, on_step=records.append, devices=jax.devices()[:1], say=lambda line: None)
        return records[0]

    return run


def test_nothing_but_rounding_is_between_them(measured):
    record = measured(PLAIN)
    assert record["sampler/gap"] == pytest.approx(0.0, abs=1e-5)
    assert record["sampler/correction"] == pytest.approx(1.0, abs=1e-4)


def test_bfloat16_moves_a_token_by_a_percent_at_most(measured):
    record = measured({"model.compute_dtype": "bfloat16"})
    assert abs(record["sampler/gap"]) < 0.01
    assert record["sampler/correction"] == pytest.approx(1.0, abs=0.01)


def test_a_cut_distribution_is_sharper_and_corrected_within_the_limit(measured):
    record = measured(CUT)
    assert record["sampler/gap"] > 0.01  # drawn likelier than the learner would: a divergence, so positive
    assert 0 < record["sampler/correction"] < 2.0
