"""Meshes on described TPU slices: neighbours of the ring are close, and several slices form a mesh or are refused."""

import json

import pytest
from topology_programs import needs_libtpu, run

PROGRAM = """
import json, sys
import numpy as np
from jax.experimental import topologies
from polaris_jax.errors import InputError
from polaris_jax.sharding import make_mesh

found = []
for name, slices, axes in json.loads(sys.argv[1]):
    more = {"num_slices": slices} if slices > 1 else {}
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices
    try:
        grid = make_mesh(axes, devices=devices).devices
    except InputError as error:
        found.append({"refused": str(error)})
        continue
    rings = np.moveaxis(grid, 2, -1).reshape(-1, grid.shape[2])
    found.append({
        "places": [[device.coords for device in ring] for ring in rings],
        "slices": [sorted({getattr(device, "slice_index", 0) for device in ring}) for ring in rings],
    })
print(json.dumps(found))
"""
pytestmark = needs_libtpu


def meshes(*cases):
    """For every ``(topology, slices, axes)``: coordinates along ``context``, and the slices of each such row."""
    return run(PROGRAM, json.dumps(cases))


def busiest_link(topology, rings):
    """Messages on the busiest directed link when every shard sends to the next, by the shortest way, axis by axis.

    An axis of four chips or more is a ring of its own.
    """
    sizes = [int(size) for size in topology.split(":")[1].split("x")]
    links = {}
    for ring in rings:
        for start, end in zip(ring, [*ring[1:], ring[0]], strict=True):
            here = list(start)
            for axis, size in enumerate(sizes):
                steps = end[axis] - here[axis]
                if size >= 4 and 2 * abs(steps) > size:
                    steps -= size if steps > 0 else -size
                for _ in range(abs(steps)):
                    link = (*here, axis, steps > 0)
                    links[link] = links.get(link, 0) + 1
                    here[axis] = (here[axis] + (1 if steps > 0 else -1)) % size
    return max(links.values())


def test_no_link_carries_two_messages_of_a_hop_of_the_ring():
    cases = [
        ("v5:2x2x1", 1, {"context": 4}),
        ("v5:2x2x2", 1, {"context": 8}),
        ("v5:4x4x4", 1, {"context": 64}),
        ("v5:4x4x4", 1, {"fsdp": 8, "context": 8}),
        ("v6e:16x16", 1, {"fsdp": 8, "context": 32}),
        ("v6e:16x16", 1, {"fsdp": 32, "context": 8}),
    ]
    for case, found in zip(cases, meshes(*cases), strict=True):
        assert busiest_link(case[0], found["places"]) == 1, case


def test_the_outer_axis_goes_over_slices():
    cases = [
        ("v5:2x2x1", 2, {"data": 2, "context": 4}),
        ("v5:2x2x1", 2, {"fsdp": 2, "context": 4}),
        ("v5:2x2x1", 4, {"data": 2, "fsdp": 2, "context": 4}),
        ("v5:2x2x2", 2, {"data": 2, "fsdp": 2, "context": 4}),
        ("v5:2x2x2", 2, {"data": -1, "context": 2, "tensor": 4}),
        ("v6e:2x4", 3, {"data": 3, "context": 8}),
    ]
    wanted = [
        [[0], [1]],
        [[0], [1]],
        [[0], [1], [2], [3]],
        [[0], [0], [1], [1]],
        [[0]] * 4 + [[1]] * 4,
        [[0], [1], [2]],
    ]
    for case, found, slices in zip(cases, meshes(*cases), wanted, strict=True):
        assert found["slices"] == slices, case


def test_rings_inside_slices_are_those_of_one_slice():
    one, two = meshes(("v5:4x4x4", 1, {"fsdp": 8, "context": 8}), ("v5:4x4x4", 2, {"data": 2, "fsdp": 8, "context": 8}))
    assert two["places"] == one["places"] * 2


@pytest.mark.parametrize(
    ("slices", "axes", "advice"),
    [
        (2, {"context": 8}, "--config.mesh.data=2 --config.mesh.context=4"),
        (2, {"context": 4, "tensor": 2}, "--config.mesh.data=2 --config.mesh.context=2"),
        (3, {"data": 2, "fsdp": 2, "context": 3}, "--config.mesh.data=6 --config.mesh.context=1"),
    ],
)
def test_a_mesh_that_would_cut_a_slice_is_refused(slices, axes, advice):
    [found] = meshes(("v5:2x2x1", slices, axes))
    assert "slices" in found["refused"]
    assert advice in found["refused"]
    assert "\n" not in found["refused"]
