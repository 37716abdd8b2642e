"""Rows that the mesh or the microbatches do not divide are refused with the next size, before anything is computed."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.training import train


@pytest.mark.parametrize(
    ("rows", "microbatches", "advice"),
    [
        (3, 1, r"batch_size=3.*4"),  # over fsdp 2
        (6, 6, r"6.*12"),  # one row in each microbatch
        (6, 4, r"microbatches=4.*must divide"),
    ],
)
def test_the_smallest_change_is_named(make_config, tmp_path, rows, microbatches, advice):
    config = make_config()  # fsdp 2 x context 4
    config.data.batch_size = rows
    config.train.update({"microbatches": microbatches, "steps": 2})
    with pytest.raises(InputError, match=advice):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
