"""Schedules reach the peak after the warm-up and end where they should."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.optim import make_schedule


def test_every_schedule_warms_up_linearly_from_its_first_step():
    for name in ("cosine", "constant", "wsd"):
        schedule = make_schedule(name, 2.0, 100, 10)
        assert [float(schedule(step)) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])


def test_cosine_falls_to_zero_wsd_stays_and_then_falls_constant_stays():
    cosine, wsd, constant = (make_schedule(name, 1.0, 100, 10) for name in ("cosine", "wsd", "constant"))
    assert float(cosine(55)) == pytest.approx(0.5, abs=0.02)
    assert float(cosine(99)) < 1e-3
    assert float(wsd(81)) == pytest.approx(1.0)
    assert float(wsd(91)) == pytest.approx(0.5, abs=0.02)
    assert float(wsd(99)) < 0.1
    assert float(constant(99)) == 1.0


def test_a_warm_up_longer_than_the_run_and_an_unknown_name_are_refused():
    with pytest.raises(InputError, match="warmup"):
        make_schedule("cosine", 1.0, 10, 10)
    with pytest.raises(InputError, match="cosine, constant, wsd"):
        make_schedule("linear", 1.0, 10, 1)
