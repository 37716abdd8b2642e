"""The estimate of attention is never faster than the chip's matrix unit or the schedule of its kernels."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.models.config import ModelConfig
from polaris_jax.ops import tile_tpu
from polaris_jax.ops.context import context_attention
from polaris_jax.ops.tile_tpu_table import kernels_of
from polaris_jax.ops.tiles import KINDS, TokenMetadata, summarise, tile_kinds
from polaris_jax.planner import plan, roofline
from polaris_jax.planner.attention_time import attention_time, kernel_time, kernels_taken, table, tile_counts
from polaris_jax.planner.kernel_schedule import KernelCase, matrix_minimum
from polaris_jax.planner.roofline import source, work
from polaris_jax.planner.topology import find_slice
from polaris_jax.sharding import make_mesh
from polaris_jax.sharding.chips import CHIPS
from polaris_jax.training.config import context_method, replace
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


@pytest.fixture
def kernels_run(monkeypatch):
    """``(pass, window, blocks)`` of every kernel that is asked for; none is traced, which would take seconds each."""
    found = set()

    def forward(tiles, q, kv, q_meta, kv_meta, state, *, window, q_block, kv_block, interpret):
        found.add(("forward", window, (q_block, kv_block)))
        return state

    def backward(
        transposed, tiles, q, kv, dout, lse, delta, q_meta, kv_meta, dq, *, window, q_block, kv_block, interpret
    ):
        found.add(("backward", window, (q_block, kv_block)))
        _, _, G, S, D = kv.shape
        return dq, jnp.zeros((2, tiles.codes.shape[0], G, *((D, S) if transposed else (S, D))), jnp.float32)

    for transposed in (False, True):
        kernels = {"forward": forward, "backward": functools.partial(backward, transposed)}
        for which, kernel in kernels.items():
            monkeypatch.setattr(tile_tpu._MODULES[transposed, which], f"{which}_kernel", kernel)
    return found


@pytest.mark.parametrize(
    ("chip", "overrides"),
    [
        ("v5p", ("model.attention_block=0",)),
        ("v6e", ("model.attention_block=0",)),
        ("v6e", ("model.attention_block=0", "data.window=6144")),  # shards shorter than a block
        ("v6e", ("model.attention_block=0", "data.window=6144", "model.context_method=all_gather")),
        ("v6e", ("model.attention_block=512",)),
        ("tpu7x", ("model.attention_block=0", "model.context_method=two_level", "model.context_group=2")),
    ],
)
def test_the_blocks_priced_are_those_that_the_kernels_take(small, kernels_run, chip, overrides):
    """With a window and without."""
    config, model, sizes = small(*overrides), ModelConfig.from_hf(SMALL), {"data": 1, "fsdp": 1, "tensor": 1}
    sizes["context"] = shards = 4
    layers = ("full_attention", "sliding_attention", "full_attention", "sliding_attention")
    model = dataclasses.replace(model, layer_types=layers, sliding_window=1024)
    shape = (1, config.data.window)
    q, kv = ((*shape, heads, model.head_dim) for heads in (model.num_heads, model.num_kv_heads))
    q, k, v = (jax.ShapeDtypeStruct(x, "bfloat16") for x in (q, kv, kv))
    ids = jax.ShapeDtypeStruct(shape, "int32")

    def run(window, q, k, v, positions, segments):
        return context_attention(
            q,
            k,
            v,
            q_positions=positions,
            kv_positions=positions,
            q_segments=segments,
            kv_segments=segments,
            mesh=make_mesh({"context": shards}, devices=jax.devices()[:shards]),
            method=context_method(config),
            group=config.model.context_group or None,
            window=window,
            block=config.model.attention_block or None,
            implementation="pallas_interpret",
            chip=CHIPS[chip].kinds[0],
        ).sum(dtype="float32")

    for window in (None, 1024):
        jax.eval_shape(jax.grad(functools.partial(run, window), argnums=(0, 1, 2)), q, k, v, ids, ids)
    assert set(kernels_taken(config, model, chip, sizes)) == kernels_run
    assert len({blocks for _, _, blocks in kernels_run}) > (config.model.attention_block == 0)


def test_a_window_takes_less_time_and_says_what_is_estimated(small):
    config, model = small("model.attention_block=0"), ModelConfig.from_hf(SMALL)
    sizes = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}
    model = dataclasses.replace(model, head_dim=128)
    whole = attention_time(config, model, "v6e", sizes)
    assert not whole.estimated
    layers = ("sliding_attention",) * len(model.layer_types)
    known = dataclasses.replace(model, layer_types=layers, sliding_window=1024)
    within = attention_time(config, known, "v6e", sizes)
    assert not within.estimated
    assert within.forward < whole.forward / 8
    # A tile edge that no row of the table has, with and without a window.
    other = attention_time(replace(config, {"model.attention_block": 256}), known, "v6e", sizes)
    assert other.estimated == tuple(
        f"{which} in blocks of 256×256 under a window of 1,024" for which in ("forward", "backward")
    )
    assert "256×256" in source("v6e", other.estimated)


def test_a_scaled_row_has_its_area_and_its_bundles_outside():
    """v5p's loops run one unit at a time, so a tile of half the size costs half, but outside the loops."""
    rows = [row for row in table() if (row.which, row.chip, row.width) == ("forward", "v5p", 256)]
    [schedule] = (row.schedule for row in rows if (row.schedule.q_block, row.schedule.kv_block) == (512, 512))
    kernel = kernel_time("forward", "v5p", 256, 1024, (256, 512))
    assert (kernel.q_block, kernel.kv_block, kernel.compiled) == (256, 512, False)
    for kind, cycles in kernel.cycles.items():
        assert cycles - schedule.outside_least == (schedule.cycles(kind) - schedule.outside_least) / 2
    own = kernel_time("forward", "v5p", 256, 1024, (512, 512))
    assert own.compiled
    assert own.cycles["edge"] == schedule.cycles("edge")


def test_fewer_units_beside_each_other_cost_more_and_a_row_without_a_window_has_no_edge():
    few, many = (kernel_time("forward", "v6e", 128, 1024, (n, n)) for n in (256, 4096))
    assert few.cycles["full"] * 16**2 > 1.5 * many.cycles["full"]
    own = kernel_time("backward", "v6e", 64, 16_384, (2048, 2048))
    assert not own.compiled
    assert own.cycles["edge"] == own.cycles["causal"]


def test_the_table_has_every_chip_and_no_kernel_beats_its_matrix_units():
    for chip, which in itertools.product(("v5e", "v5p", "v6e", "tpu7x"), ("forward", "backward")):
        kernel = kernel_time(which, chip, 128, None, kernels_of(CHIPS[chip].kinds[0]).blocks(which, 128, None))
        assert kernel.compiled
        assert kernel.cores == (2 if chip == "v5p" else 1)
        transposed = kernels_of(CHIPS[chip].kinds[0]).transposed
        least = matrix_minimum(KernelCase(which, chip), transposed=transposed)
        units = kernel.q_block / 1024 * kernel.kv_block / 512
        assert least * units <= kernel.cycles["full"]
        assert kernel.cycles["full"] == min(kernel.cycles.values())
    kernels = [
        (row.which, row.chip, row.width, row.window, row.schedule.q_block, row.schedule.kv_block) for row in table()
    ]
    assert len(kernels) == len(set(kernels))
    assert {row.schedule.libtpu for row in table()} == {table()[0].schedule.libtpu}
