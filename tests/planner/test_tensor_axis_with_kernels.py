"""The step lowers for TPU on a mesh with a tensor axis, whose attention is a kernel that the compiler cannot split."""

import json

import pytest
from topology_programs import needs_libtpu, run

from polaris_jax.planner.abstract import to_rows

PROGRAM = """
import json, sys
from jax.experimental import topologies
from polaris_jax.planner.abstract import from_rows, lower_step
devices = topologies.get_topology_desc(platform="tpu", topology_name="v5:2x2x1").devices
text = lower_step(from_rows(json.loads(sys.argv[1])), devices).as_text()
print(json.dumps(text.count("tpu_custom_call")))
"""


@needs_libtpu
@pytest.mark.parametrize(
    ("tensor", "remat"),
    [(1, "full"), (2, "dots"), (2, "full"), pytest.param(4, "attention", marks=pytest.mark.slow)],
)
def test_the_step_has_kernels(small, tensor, remat):
    config = small(
        f"mesh.tensor={tensor}",
        f"mesh.context={4 // tensor}",
        f"model.remat={remat}",
        "model.context_method=ring",
        "data.window=16384",
    )
    assert run(PROGRAM, json.dumps(to_rows(config))) >= 2
