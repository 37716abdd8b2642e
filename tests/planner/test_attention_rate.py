"""The estimate of attention is never faster than the chip's matrix unit or the schedule of its kernels."""

import itertools

import numpy as np
import pytest

from polaris_jax.models.config import ModelConfig
from polaris_jax.ops.tiles import KINDS, TokenMetadata, summarise, tile_kinds
from polaris_jax.planner import plan, roofline
from polaris_jax.planner.attention_time import attention_time, known_schedule, table, tile_counts
from polaris_jax.planner.roofline import work
from polaris_jax.planner.topology import find_slice
from polaris_jax.training.config import replace
from tests.planner.conftest import SMALL


@pytest.mark.parametrize(("topology", "unit"), [("v5p-8", 128), ("v6e-4", 256)])
def test_heads_narrower_than_the_matrix_unit_waste_the_rest(small, topology, unit):
    """Attention has two products forward and five backward; two of them in each pass sum over a head's 128 channels.

    Those fill only 128 rows of a ``unit`` x ``unit`` array, the others all of it at best.
    """
    config, slice_ = small("mesh.context=4"), find_slice(topology)
    verdict = plan(config, topology, estimate=True)
    flops = work(config, ModelConfig.from_hf(SMALL), slice_.devices).attention
    rate = flops / verdict.terms["attention"] / slice_.chip.flops
    narrow = unit / SMALL["head_dim"]
    assert rate <= 9 / (4 * narrow + 5)  # forward twice, backward once: nine products, four of them narrow
    assert rate <= min(1.0, SMALL["head_dim"] / unit)


def test_the_lower_bound_is_the_schedule_and_below_the_expectation(small):
    # Without a ring nothing hides behind attention.
    config = small("mesh.context=1", "mesh.fsdp=4", "data.batch_size=4")
    model, verdict = ModelConfig.from_hf(SMALL), plan(config, "v5p-8", estimate=True)
    passes = attention_time(config, model, "v5p", verdict.mesh)
    bound = 2 * passes.forward + passes.backward
    assert verdict.terms["attention"] == pytest.approx(roofline.OVER_SCHEDULE * bound)
    assert verdict.step_time_least_s == pytest.approx(
        verdict.step_time_s - (roofline.OVER_SCHEDULE - 1) * bound, rel=1e-3
    )
    assert "published runs on this chip" in verdict.time_source


@pytest.mark.parametrize(
    ("window", "blocks"), list(itertools.product([None, 96, 256, 300], [(128, 64), (64, 128), (128, 128)]))
)
def test_tiles_are_counted_as_the_kernels_find_them(window, blocks):
    length = 1024
    row = TokenMetadata(np.arange(length, dtype=np.int32)[None], np.ones((1, length), np.int32))
    found = np.asarray(tile_kinds(summarise(row, blocks[0]), summarise(row, blocks[1]), window))
    want = {name: int((found == kind).sum()) for kind, name in enumerate(KINDS) if name != "skip"}
    assert tile_counts(length, window, *blocks) == want


def test_work_is_shared_and_grows_with_the_square(small):
    model = ModelConfig.from_hf(SMALL)
    config = small()
    one, four = ({"data": 1, "fsdp": 1, "context": n, "tensor": 1} for n in (1, 4))
    assert attention_time(config, model, "v6e", one).backward == pytest.approx(
        4 * attention_time(config, model, "v6e", four).backward
    )
    longer = attention_time(replace(config, {"data.window": 131072}), model, "v6e", one).forward
    assert longer / attention_time(config, model, "v6e", one).forward == pytest.approx(4, rel=0.05)


def test_the_table_has_every_chip_and_no_kernel_beats_its_matrix_units():
    for chip, which in itertools.product(("v5e", "v5p", "v6e", "tpu7x"), ("forward", "backward")):
        schedule, factor = known_schedule(which, chip, 128, None)
        assert factor == 1.0
        assert schedule.cores == (2 if chip == "v5p" else 1)
        units = schedule.q_block / 1024 * schedule.kv_block / 512
        assert schedule.cycles("full") >= schedule.minimum * units
        assert schedule.cycles("full") <= schedule.cycles("causal") <= schedule.cycles("masked")
    assert {row.schedule.libtpu for row in table()} == {table()[0].schedule.libtpu}
