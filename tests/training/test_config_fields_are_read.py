"""Every field that ``polaris train`` accepts is read by a run."""

import config_reads

from polaris_jax.training import train
from polaris_jax.training.config import TrainConfig


def test_no_field_of_a_training_config_is_accepted_and_never_read(make_config, tmp_path):
    config = make_config()
    config.eval.every = 1
    config.eval.split = ""
    config.optim.warmup = 0
    config.train.update({"steps": 2, "checkpoint_every": 1})
    with config_reads.recorded(TrainConfig) as found:
        assert train(config, tmp_path / "run").finished
    assert ", ".join(config_reads.unread(TrainConfig, found)) == ""
