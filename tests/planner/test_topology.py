"""Names of slices and meshes on them: a wrong one is refused in one line with the smallest change."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.planner.topology import find_slice, larger_slices, mesh_sizes
from tests.planner.conftest import LLAMA_3_1_8B

MODEL = ModelConfig.from_hf(LLAMA_3_1_8B)


@pytest.mark.parametrize(
    ("name", "topology", "devices"),
    [
        ("v5p-8", "v5:2x2x1", 4),
        ("v5p-16", "v5:2x2x2", 8),
        ("v5p-128", "v5:4x4x4", 64),
        ("v5p-2304", "v5:8x12x12", 1152),
        ("v5p-12288", "v5:16x16x24", 6144),
        ("v5p-17920", "v5:16x20x28", 8960),
        ("v6e-256", "v6e:16x16", 256),
        ("v5litepod-16", "v5e:4x4", 16),
        ("tpu7x-128", "tpu7x:4x4x4", 128),
    ],
)
def test_slices_are_named_as_the_cloud_names_them(name, topology, devices):
    found = find_slice(name)
    assert (found.topology_name, found.devices) == (topology, devices)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("v5p-20", "nearest is v5p-16"),
        ("v6e-2", "nearest is v6e-1"),
        ("h100-8", "versions are v5e, v5p, v6e, tpu7x"),
        ("v5p", "such as v5p-16"),
    ],
)
def test_a_slice_that_does_not_exist_is_refused_with_the_nearest(name, advice):
    with pytest.raises(InputError, match=advice):
        find_slice(name)


def test_larger_slices_double():
    assert [s.name for s in larger_slices(find_slice("v5p-16"))][:3] == ["v5p-32", "v5p-64", "v5p-128"]


@pytest.mark.parametrize(
    ("overrides", "topology", "advice"),
    [
        (["mesh.context=16"], "v5p-16", "--config.mesh.context=8"),
        (["mesh.context=8", "mesh.fsdp=3"], "v5p-16", "--config.mesh.fsdp=1"),
        (["mesh.fsdp=-1", "mesh.context=-1"], "v5p-16", "only one axis may be -1"),
        (["data.window=65537"], "v5p-16", "--config.data.window=65552"),
        (["mesh.context=4", "mesh.fsdp=2", "data.batch_size=3"], "v5p-16", "--config.data.batch_size=4"),
        (["mesh.tensor=64", "mesh.context=1"], "v5p-128", "--config.mesh.tensor=32 --config.mesh.fsdp=2"),
    ],
)
def test_what_does_not_divide_is_told_with_the_smallest_change(small, overrides, topology, advice):
    with pytest.raises(InputError, match=advice) as error:
        mesh_sizes(small(*overrides), find_slice(topology), MODEL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("overrides", [["mesh.context=16"], ["mesh.context=8", "mesh.fsdp=3"], ["data.window=65537"]])
def test_the_smallest_change_works(small, overrides):
    with pytest.raises(InputError) as error:
        mesh_sizes(small(*overrides), find_slice("v5p-16"), MODEL)
    change = error.value.advice.split("--config.")[-1]
    sizes = mesh_sizes(small(*overrides, change), find_slice("v5p-16"), MODEL)
    assert sizes["data"] * sizes["fsdp"] * sizes["context"] * sizes["tensor"] == 8
