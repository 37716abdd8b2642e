"""Several processes are one run: they make the bits of one process, end when one of them dies, and resume together.

All runs have eight devices, whatever processes they belong to: bits are those of one program on one machine.
"""

import signal
import time

import pytest
from processes import Processes, assert_same_weights, lines

from polaris_jax.errors import RESUMABLE
from polaris_jax.training import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(make_config):
    config = make_config()
    config.train.steps = 6
    return config


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """Folder of the run that one process of eight devices has made."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert train(small, workdir).finished
    return workdir


def test_two_processes_of_four_devices_give_the_bits_of_one_of_eight(small, whole, tmp_path):
    ran = Processes(small, tmp_path / "run", tmp_path)
    assert ran.wait() == 0, ran.said(0)
    assert lines(tmp_path / "run") == lines(whole)
    assert_same_weights(tmp_path / "run", whole)


def test_sigterm_to_one_process_stops_all_with_a_checkpoint_and_they_resume(small, whole, tmp_path):
    ran = Processes(small, tmp_path / "run", tmp_path)
    asked = ran.signal_at(3, 1, signal.SIGTERM)
    assert ran.wait() == RESUMABLE, ran.said(0)
    assert time.monotonic() - asked < 60
    assert "run the same command again" in ran.said(0)
    done = len(lines(tmp_path / "run"))
    assert 3 <= done < 6
    assert (tmp_path / "run" / "checkpoints" / str(done)).is_dir()
    assert Processes(small, tmp_path / "run", tmp_path).wait() == 0
    assert lines(tmp_path / "run") == lines(whole)
    assert_same_weights(tmp_path / "run", whole)


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_others_end_with_the_cause_and_all_resume(small, whole, tmp_path, victim):
    ran = Processes(small, tmp_path / "run", tmp_path)
    killed = ran.signal_at(3, victim, signal.SIGKILL)
    assert ran.wait() != 0
    assert time.monotonic() - killed < 75
    said = ran.said(1 - victim)
    assert any(word in said for word in ("closed by peer", "heartbeat", "UNAVAILABLE", "reset by peer")), said
    assert Processes(small, tmp_path / "run", tmp_path).wait() == 0
    assert lines(tmp_path / "run") == lines(whole)
    assert_same_weights(tmp_path / "run", whole)
