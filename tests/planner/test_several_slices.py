"""A step over several slices: what crosses the data-centre network, read from a compiled program and by arithmetic.

``data/step_two_slices.hlo.gz`` is what libtpu 0.0.42 made of the small model on two v5p-8 (data 2 x context 4, two
microbatches of one row on each, gradients reduced in float32), cut down to the lines that the reader looks at.
"""

import json
import math
import os
import subprocess
import sys

import pytest
from topology_programs import ROOT, needs_libtpu

from polaris_jax.cli import main
from polaris_jax.errors import InputError
from polaris_jax.models.model_folder import read_config
from polaris_jax.models.weights import weight_table
from polaris_jax.planner import hlo, plan
from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.planner.roofline import sent_over_dcn
from polaris_jax.planner.topology import find_slice, mesh_sizes
from polaris_jax.planner.traffic import expected_collectives
from polaris_jax.sharding.chips import CHIPS
from tests.planner.conftest import program_text

TWO = ("mesh.data=2", "mesh.context=4", "data.batch_size=4", "train.microbatches=2", "optim.reduce_dtype=float32")


def over_dcn(rows, kind):
    return sum(row.bytes for row in rows if (row.network, row.kind) == (hlo.DCN, kind))


@pytest.fixture(scope="module")
def compiled():
    return hlo.collectives(hlo.read_program(program_text("two_slices")))


def test_gradients_cross_once_per_step_as_shards_in_float32(compiled, small):
    """Not once per microbatch, and of every array only the quarter that a device of the slice has reduced."""
    model = read_config(small().model.path, shape_only=True)
    numbers = sum(math.prod(weight.shape) for weight in weight_table(model).values()) // 4
    large = [row for row in compiled if (row.network, row.kind) == (hlo.DCN, "all-reduce") and row.bytes > 1e6]
    assert {row.where.split(", ")[1] for row in large} == {"once"}
    assert sum(row.bytes for row in large) == pytest.approx(4 * numbers, rel=1e-3)


def test_arithmetic_expects_what_the_compiler_sends(compiled, small):
    config = small(*TWO)
    model = read_config(config.model.path, shape_only=True)
    slice_ = find_slice("v5p-8", 2)
    expected = expected_collectives(config, model, mesh_sizes(config, slice_, model), slice_.count)
    assert over_dcn(expected, "all-reduce") == pytest.approx(over_dcn(compiled, "all-reduce"), rel=0.02)
    # Four layers leave slots of Muon's batches empty on eight devices; arithmetic counts the matrices alone.
    assert 1 <= over_dcn(compiled, "all-gather") / over_dcn(expected, "all-gather") < 1.5
    # Besides, the rows of the batch change places when it is cut into microbatches.
    assert over_dcn(compiled, "all-to-all") < 0.01 * over_dcn(compiled, "all-reduce")


@pytest.mark.parametrize(
    ("kind", "slices", "share"), [("all-reduce", 2, 1), ("all-reduce", 4, 1.5), ("all-gather", 4, 0.75)]
)
def test_a_ring_of_slices_passes_everything_on(kind, slices, share):
    row = hlo.Collective(kind, "once", 1, 1000, True, "other", hlo.DCN)
    assert sent_over_dcn(row, slices) == 1000 * share


def test_a_plan_over_slices_has_its_traffic_and_time(small):
    alone = plan(small("mesh.context=4", "data.batch_size=2", "train.microbatches=2"), "v5p-8", estimate=True)
    both = plan(small(*TWO), "v5p-8", slices=2, estimate=True)
    assert (alone.slices, alone.dcn, alone.terms["dcn"]) == (1, None, 0)
    assert (both.slices, both.chips, both.topology) == (2, 8, "v5p-8")
    assert both.dcn["seconds"] == pytest.approx(both.dcn["gb_per_chip"] * 1e9 / CHIPS["v5p"].dcn)
    assert sum(both.terms.values()) == pytest.approx(both.step_time_s)
    # Twice the rows on twice the chips: the step takes longer by what crosses the network, and Muon is shared by all.
    longer = both.step_time_s - both.terms["dcn"] + alone.terms["newton_schulz"] - both.terms["newton_schulz"]
    assert longer == pytest.approx(alone.step_time_s, rel=1e-6)
    assert both.hbm_gib_per_chip == pytest.approx(alone.hbm_gib_per_chip, rel=1e-6)


def test_fsdp_over_slices_costs_more_traffic_than_data(small):
    rows = ("mesh.context=4", "data.batch_size=4", "train.microbatches=2")
    data, fsdp = (plan(small(f"mesh.{axis}=2", *rows), "v5p-8", slices=2, estimate=True) for axis in ("data", "fsdp"))
    assert fsdp.dcn["gb_per_chip"] > data.dcn["gb_per_chip"]
    assert fsdp.hbm_gib_per_chip < data.hbm_gib_per_chip


@pytest.mark.parametrize(
    ("overrides", "advice"),
    [
        (["mesh.context=4"], "2 x v5p-8 has 8; set --config.mesh.data=2"),
        (["mesh.context=8"], "--config.mesh.data=2 --config.mesh.context=4"),
        (["mesh.context=4", "mesh.data=2", "data.batch_size=3"], "--config.data.batch_size=4"),
        (["mesh.context=4", "mesh.data=2", "mesh.slices=1"], "--config.mesh.slices=2"),
    ],
)
def test_what_cannot_be_laid_out_is_one_line_of_advice(small, overrides, advice):
    with pytest.raises(InputError, match=advice) as error:
        plan(small(*overrides), "v5p-8", slices=2, estimate=True)
    assert "\n" not in str(error.value)


def test_a_plan_for_fewer_slices_than_the_run_has_is_that_of_the_run_that_goes_on(small):
    verdict = plan(small(*TWO, "mesh.slices=2"), "v5p-8", slices=1, estimate=True)
    assert (verdict.mesh["data"], verdict.slices) == (1, 1)
    assert plan(small(*TWO, "mesh.slices=2"), "v5p-8", estimate=True).slices == 2


def test_the_verb_plans_several_slices(small, tmp_path, capsys):
    file = tmp_path / "run.py"
    file.write_text(
        "from polaris_jax.training import default_config\n\n\ndef get_config():\n    config = default_config()\n"
        f"    config.model.path = {small().model.path!r}\n    config.data.window = 65536\n    return config\n"
    )
    words = ["plan", f"--config={file}", "--topology=v5p-8", "--estimate", "--config.mesh.data=2"]
    words += ["--config.data.batch_size=2"]
    assert main([*words, "--slices=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mesh"] == {"data": 2, "fsdp": 1, "context": 4, "tensor": 1}
    assert main([*words, "--slices=2"]) == 0
    shown = capsys.readouterr().out
    assert "2 × v5p-8" in shown
    assert "data-centre" in shown
    assert main([*words, "--slices=0"]) == 2


def test_sizes_over_slices():
    found = find_slice("v5p-128", 2)
    assert (found.devices, found.chips, found.all_chips, found.title) == (128, 64, 128, "2 x v5p-128")


SUM = """
import json
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec as P
from polaris_jax.planner import hlo
from polaris_jax.sharding import make_mesh

devices = topologies.get_topology_desc(platform="tpu", topology_name="v5:2x2x1", num_slices=2).devices
mesh = make_mesh({"data": 4, "context": 2}, devices=devices)
spread = {"in_specs": P("context"), "out_specs": P("context")}
add = jax.jit(jax.shard_map(lambda x: jax.lax.psum(x, "data"), mesh=mesh, check_vma=False, **spread))
x = jax.ShapeDtypeStruct((1 << 20,), jnp.float32, sharding=NamedSharding(mesh, P("context")))
rows = hlo.collectives(hlo.read_program(add.lower(x).compile().as_text()))
print(json.dumps([(row.kind, row.network, row.bytes) for row in rows]))
"""


@needs_libtpu
@pytest.mark.slow
def test_a_sum_over_replicas_in_several_slices_is_scattered_inside_and_reduced_across():
    environment = os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", SUM], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    size = 4 << 19  # bytes of the half that a device holds
    assert sorted(map(tuple, json.loads(ran.stdout))) == [
        ("all-gather", "ici", size),
        ("all-reduce", "dcn", size // 2),
        ("reduce-scatter", "ici", size),
    ]


@needs_libtpu
@pytest.mark.slow
def test_the_compiler_agrees_with_the_file(small, compiled):
    verdict = plan(small(*TWO), "v5p-8", slices=2)
    for kind in ("all-reduce", "all-gather"):
        assert over_dcn(verdict.collectives, kind) == pytest.approx(over_dcn(compiled, kind), rel=0.01)
