"""A checkpoint converted to Orbax trains like the one it came from."""

from polaris_jax.converting import convert
from polaris_jax.training import read_metrics, train


def test_converted_weights_give_the_same_first_steps(make_config, tmp_path):
    config = make_config()
    config.train.steps = 2
    train(config, tmp_path / "direct")
    convert(config.model.path, str(tmp_path / "orbax"))
    config.model.path = str(tmp_path / "orbax")
    train(config, tmp_path / "converted")
    losses = [
        [(line["loss"], line["grad_norm"]) for line in read_metrics(tmp_path / name)]
        for name in ("direct", "converted")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2
