"""Two TensorCores of a chip share a kernel, however few key heads a shard has; the table has its schedule."""

import pytest
from topology_programs import needs_libtpu

from polaris_jax.planner.attention_time import table
from polaris_jax.planner.kernel_schedule import KernelCase, kernel_schedule

pytestmark = [
    pytest.mark.slow,
    needs_libtpu,
]


@pytest.mark.parametrize("which", ["forward", "backward"])
@pytest.mark.parametrize(("key_heads", "group"), [(1, 4), (1, 1), (2, 4), (3, 1)])
def test_both_cores_of_a_v5p_share_a_kernel(key_heads, group, which, tmp_path, monkeypatch):
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path))
    found = kernel_schedule(KernelCase(which, "v5p", key_heads=key_heads, group=group, tokens=4096))
    assert found.cores == 2
    assert [loop.kind for loop in found.loops] == ["full", "causal", "masked"]


@pytest.mark.parametrize("chip", ["v5p", "v6e"])
@pytest.mark.parametrize("which", ["forward", "backward"])
def test_the_table_is_of_these_kernels(which, chip, tmp_path, monkeypatch):
    """``planner/kernels.json`` equals what the compiler says; benchmarks/kernel_schedule.py --write makes it."""
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path))
    [known] = (row for row in table() if (row.which, row.chip, row.width, row.window) == (which, chip, 128, None))
    found = kernel_schedule(KernelCase(which, chip))
    if found.libtpu != known.schedule.libtpu:
        pytest.skip(f"the table is of libtpu {known.schedule.libtpu}")
    assert found == known.schedule
