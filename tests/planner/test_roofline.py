"""The estimate of time against published runs with known settings, and against properties that it must have."""

import benchmark_scripts
import pytest

from polaris_jax.models.config import ModelConfig
from polaris_jax.planner.hlo import Collective
from polaris_jax.planner.roofline import OVER_SCHEDULE, estimate, newton_schulz_flops, seconds_for, source, work
from polaris_jax.planner.topology import find_slice, mesh_sizes
from polaris_jax.planner.traffic import expected_collectives
from polaris_jax.training.config import override
from tests.planner.conftest import LLAMA_2_7B, LLAMA_3_1_8B


def planned(config, hf, topology, *overrides):
    config = override(config, overrides)
    model, slice_ = ModelConfig.from_hf(hf), find_slice(topology)
    sizes = mesh_sizes(config, slice_, model)
    return estimate(config, model, slice_, sizes, expected_collectives(config, model, sizes))


@pytest.fixture(scope="module")
def published():
    """Published runs, and the fit of the one factor of the expectation."""
    return benchmark_scripts.load("time_model")


def test_every_published_run_is_predicted_from_the_others_within_a_fifth(published):
    """With the schedule of the kernel that it used."""
    found = published.leave_one_out()
    assert len(found) == 5
    for run, _, seconds in found:
        assert seconds == pytest.approx(run.seconds, rel=0.2), run.name


def test_the_factor_is_the_fit_and_no_run_beats_the_schedule(published):
    known = [(published.bounds(run), run.seconds) for run in published.RUNS]
    assert pytest.approx(published.fit(known), abs=0.05) == OVER_SCHEDULE
    assert all(published.predict(bounds, 1.0) < seconds for bounds, seconds in known)


def test_what_is_published_for_no_chip_is_said():
    assert "published runs on this chip" in source("v5p")
    for chip in ("v5e", "v6e", "tpu7x"):
        assert "none is published for this chip" in source(chip)


def test_terms_add_up_and_mfu_follows(small):
    found = planned(small(), LLAMA_3_1_8B, "v5p-16")
    assert sum(found.terms.values()) == pytest.approx(found.seconds)
    flops = work(small(), ModelConfig.from_hf(LLAMA_3_1_8B), 8).model
    assert found.mfu == pytest.approx(flops / 459e12 / found.seconds)


def test_saving_attention_spares_its_forward(small):
    model = ModelConfig.from_hf(LLAMA_3_1_8B)
    again, saved = (work(small(f"model.remat={remat}"), model, 8) for remat in ("full", "attention"))
    assert again.attention / saved.attention == pytest.approx(4.5 / 3.5)
    assert again.model == saved.model


def test_newton_schulz_of_one_matrix():
    hf = LLAMA_2_7B | {
        "num_hidden_layers": 1,
        "hidden_size": 128,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "intermediate_size": 256,
    }
    square, wide = 6 * 128**3, 4 * 128 * 128 * 256 + 2 * 128**3
    assert newton_schulz_flops(ModelConfig.from_hf(hf), 5) == 5 * (4 * square + 3 * wide)


def test_a_collective_that_nothing_covers_costs_its_whole_time(small):
    model, slice_ = ModelConfig.from_hf(LLAMA_3_1_8B), find_slice("v5p-16")
    config = small()
    sizes = mesh_sizes(config, slice_, model)

    def seconds(asynchronous, meanwhile):
        gathers = Collective("all-gather", "forward, in a loop", 1, 10**10, asynchronous, meanwhile)
        return estimate(config, model, slice_, sizes, [gathers]).seconds

    alone = seconds_for("all-gather", 10**10, 8, slice_)
    assert seconds(False, "nothing") - seconds(True, "attention") == pytest.approx(alone)
    assert seconds(True, "nothing") == seconds(False, "nothing")


def test_bandwidth_follows_the_torus():
    small_slice, large = find_slice("v5p-16"), find_slice("v5p-128")
    assert seconds_for("collective-permute", 90e9, 8, small_slice) == pytest.approx(1.0)
    # Three lines of two, against three rings of four.
    assert seconds_for("all-gather", 270e9, 8, small_slice) == pytest.approx(7 / 8)
    assert seconds_for("all-gather", 540e9, 64, large) == pytest.approx(63 / 64)
    assert seconds_for("all-reduce", 540e9, 64, large) == pytest.approx(2 * 63 / 64)
