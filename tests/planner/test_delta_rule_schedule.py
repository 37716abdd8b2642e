"""The TPU compiler takes the delta rule's kernels at the size of Qwen3.5 9B, and schedules them within bounds."""

import json
from pathlib import Path

import pytest
from topology_programs import needs_libtpu, run

from polaris_jax.errors import InputError
from polaris_jax.planner.abstract import to_rows
from polaris_jax.planner.delta_rule_schedule import (
    DeltaRuleCase,
    DeltaRuleSchedule,
    delta_rule_schedule,
    matrix_minimum,
)

PROGRAM = """
import json, sys
from jax.experimental import topologies
from polaris_jax.planner.abstract import from_rows, lower_step
devices = topologies.get_topology_desc(platform="tpu", topology_name="v5:2x2x1").devices
text = lower_step(from_rows(json.loads(sys.argv[1])), devices).as_text()
names = ("short_convolution", "delta_rule", "gated_norm")
print(json.dumps([[text.count(f"{name}_{which}") > 0 for which in ("forward", "backward")] for name in names]))
"""


@needs_libtpu
@pytest.mark.parametrize("width", [128, pytest.param(64, marks=pytest.mark.slow)])
def test_the_step_of_a_hybrid_on_tpus_has_the_kernels_where_heads_are_wide_enough(small, width):
    config = small("mesh.tensor=2", "mesh.fsdp=2", "data.window=2048", "data.batch_size=2")
    hybrid = {
        "model_type": "qwen3_5_text",
        "layer_types": ["linear_attention", "full_attention"],
        "num_hidden_layers": 2,
        "linear_conv_kernel_dim": 4,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": width,
        "linear_value_head_dim": width,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
    }
    shape = Path(config.model.path) / "config.json"
    shape.write_text(json.dumps(json.loads(shape.read_text()) | hybrid))
    assert run(PROGRAM, json.dumps(to_rows(config))) == [[width == 128] * 2] * 3


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(("chip", "cores", "most"), [("v5p", 2, 1.5e-3), ("v6e", 1, 2.4e-3), ("tpu7x", 1, 2.4e-3)])
def test_a_layer_of_the_9b_within_its_time(chip, cores, most, tmp_path, monkeypatch):
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path))
    both = [delta_rule_schedule(DeltaRuleCase(which, chip)) for which in ("forward", "backward")]
    assert [found.cores for found in both] == [cores, cores]
    assert sum(found.seconds(chip) for found in both) < most
    assert delta_rule_schedule(DeltaRuleCase("forward", chip)) == both[0]  # from disk


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("heads", [{"key_heads": 16, "group": 3}, {"key_heads": 1, "group": 2, "rows": 2}])
@pytest.mark.parametrize("which", ["forward", "backward"])
def test_other_heads_compile_and_share_both_cores(which, heads, tmp_path, monkeypatch):
    """Those of the 27B, and of one device of eight with two rows."""
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path))
    assert delta_rule_schedule(DeltaRuleCase(which, "v5p", tokens=1024, **heads)).cores == 2


def test_time_is_that_of_the_busiest_unit_over_the_cores():
    found = DeltaRuleSchedule(64, 16, 256, 2, 7000, 3500.0, {}, 0.0, "")
    assert found.seconds("v5p") == pytest.approx(7000 * 256 / 2 / 1.75e9)
    slow_units = DeltaRuleSchedule(64, 16, 256, 1, 7000, 14000.0, {}, 0.0, "")
    assert slow_units.seconds("v5p") == pytest.approx(4 * found.seconds("v5p"))


def test_the_matrix_minimum_counts_every_product():
    """Of a key head with two value heads on units of 128, in rows: 1,792 forward and 1,984 backward, four a cycle."""
    assert matrix_minimum(DeltaRuleCase("forward", "v5p"), 64, 8) == 8 * 1792 / 4
    assert matrix_minimum(DeltaRuleCase("backward", "v5p"), 64, 8) == 8 * 1984 / 4


@needs_libtpu
def test_an_unknown_kernel_is_refused():
    with pytest.raises(InputError, match="forward or backward"):
        delta_rule_schedule(DeltaRuleCase("sideways", "v5p"))
