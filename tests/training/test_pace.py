"""A process that is slow between steps, or late from its devices, is distinguished from those that wait for it."""

import numpy as np
import pytest
from processes import Processes

from polaris_jax.training import read_metrics
from polaris_jax.training.events import read_events
from polaris_jax.training.pace import seconds_behind


@pytest.mark.parametrize(
    ("rows", "behind"),
    [
        ([(0.1, 0.0), (1.1, 0.0), (0.1, 0.0)], [0.0, 1.0, 0.0]),  # starved of data
        ([(0.1, 0.5), (0.1, 0.0), (0.1, 0.5)], [0.0, 0.5, 0.0]),  # late from its devices: the others waited
        ([(0.1, 0.2), (0.3, 0.2), (0.1, 0.0)], [0.0, 0.2, 0.2]),
    ],
)
def test_seconds_behind_the_fastest(rows, behind):
    np.testing.assert_allclose(seconds_behind(np.array(rows)), behind, atol=1e-12)


@pytest.mark.slow
def test_a_run_of_two_processes_names_the_slower_one(make_config, tmp_path):
    config = make_config()
    config.mesh.update({"data": 2, "fsdp": 1, "context": 2})
    config.train.steps = 4
    assert Processes(config, tmp_path / "run", tmp_path, devices=2).wait(900) == 0
    [hosts] = [event["hosts"] for event in read_events(tmp_path / "run") if event["event"] == "start"]
    assert len(hosts) == 2
    for line in read_metrics(tmp_path / "run"):
        assert line["slowest_process"] in (0, 1)
        assert line["slowest_process_s"] >= 0
