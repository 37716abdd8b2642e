"""The planner compiles what runs: the two lowered programs are the same text."""

import jax
import pytest

from polaris_jax.data import place
from polaris_jax.planner.abstract import lower_step
from polaris_jax.training.config import train_config
from polaris_jax.training.input_pipeline import open_training_data
from polaris_jax.training.setup import first_state, set_up
from polaris_jax.training.step import make_train_step


@pytest.mark.parametrize(
    "fields",
    [{"optim.precision": "bf16_stochastic", "model.compute_dtype": "bfloat16"}, {"train.microbatches": 2}],
    ids=str,
)
def test_the_planners_program_is_the_runs_program(make_config, fields):
    config = make_config()
    config.data.batch_size = 4
    for name, value in fields.items():
        section, field = name.split(".")
        config[section][field] = value
    config = train_config(config)
    setup = set_up(config)  # as ``train`` does
    batch = place(open_training_data(config, setup.mesh), 0, setup.mesh)
    step = make_train_step(config, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
    runs = step.lower(first_state(config, setup), batch).as_text()
    assert lower_step(config, jax.devices()).as_text() == runs
