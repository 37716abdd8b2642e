"""What ``context_method=auto`` stands for: the planner's choice on a slice, a ring elsewhere; a person overrides."""

import pytest

from polaris_jax.planner import choose_context_method, plan
from polaris_jax.planner.analytic import Memory
from polaris_jax.planner.choose import Option, best
from polaris_jax.planner.topology import slice_of
from polaris_jax.training.config import context_method

METHODS = ("ring", "two_level", "all_gather")


@pytest.mark.parametrize(
    ("topology", "overrides"),
    [
        ("v5p-8", ("mesh.context=4",)),
        ("v5p-16", ("mesh.context=4", "mesh.fsdp=2", "data.batch_size=2")),
        ("v6e-64", ("mesh.context=64", "data.window=8192")),
        ("v6e-64", ("mesh.context=64", "data.window=1048576")),
        ("v5p-8", ("mesh.context=1", "mesh.fsdp=4", "data.batch_size=4")),
    ],
)
def test_the_choice_fits_and_is_about_as_fast_as_the_fastest_that_does(small, topology, overrides):
    found = plan(small(*overrides), topology, estimate=True)
    others = {
        method: plan(small(*overrides, f"model.context_method={method}"), topology, estimate=True) for method in METHODS
    }
    assert found.to_json() | {"choice": None} == others[found.context_method].to_json()
    assert all(method in found.choice for method in METHODS)
    assert found.fits
    assert found.step_time_s <= 1.011 * min(one.step_time_s for one in others.values() if one.fits)


def test_a_ring_that_waits_for_its_links_is_not_taken(small):
    short = ("mesh.context=64", "data.window=8192")
    ring = plan(small(*short, "model.context_method=ring"), "v6e-64", estimate=True)
    found = plan(small(*short), "v6e-64", estimate=True)
    assert found.context_method != "ring"
    assert found.step_time_s < 0.9 * ring.step_time_s


def test_a_person_overrides(small):
    found = plan(small("mesh.context=4", "model.context_method=all_gather"), "v5p-8", estimate=True)
    assert found.context_method == "all_gather"
    assert found.choice is None


def option(method, seconds, memory, traffic, fits=True):
    return Option(method, seconds, Memory({"parameters": memory}, 0, "head"), traffic, fits)


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ([option("ring", 2, 5, 9), option("two_level", 1, 9, 9)], "two_level"),  # time first
        ([option("ring", 1.005, 5, 9), option("two_level", 1, 9, 9)], "ring"),  # then memory
        ([option("ring", 1, 5, 9), option("two_level", 1.005, 5, 3)], "two_level"),  # then traffic
        ([option("ring", 2, 5, 9), option("all_gather", 1, 99, 1, fits=False)], "ring"),
        ([option("ring", 2, 50, 9, fits=False), option("all_gather", 1, 99, 1, fits=False)], "ring"),
    ],
)
def test_time_then_memory_then_traffic_among_what_fits(options, method):
    assert best(tuple(options)).method == method


@pytest.mark.parametrize(
    ("kind", "devices", "name"),
    [
        ("TPU v5", 8, "v5p-16"),
        ("TPU v5p", 64, "v5p-128"),
        ("TPU v6 lite", 256, "v6e-256"),
        ("TPU7x", 128, "tpu7x-128"),
        ("TPU v5", 7, None),
        ("cpu", 8, None),
        ("NVIDIA H100", 8, None),
    ],
)
def test_attached_devices_are_known_by_kind_and_number(kind, devices, name):
    found = slice_of(kind, devices)
    assert (found and found.name) == name


def test_training_takes_the_choice_of_the_attached_slice_and_a_ring_elsewhere(small):
    config = small("mesh.context=64", "data.window=8192")
    assert choose_context_method(config, "cpu", 64) == (config, None)
    assert context_method(config) == "ring"
    chosen, said = choose_context_method(config, "TPU v6 lite", 64)
    assert chosen.model.context_method in METHODS[1:]
    assert said.startswith(f"context_method {chosen.model.context_method};")
    assert choose_context_method(chosen, "TPU v6 lite", 64) == (chosen, None)
