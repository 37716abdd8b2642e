"""The compiler's files of one real step, cut down, are read correctly."""

import itertools

from polaris_jax.planner.dump import alive, memory_spaces, peak_moment, temporaries
from polaris_jax.planner.hlo import array_bytes, collectives, kernel_runs, read_program
from tests.planner.conftest import DATA, program_text

GB = 1e9
LAYERS, HOPS = 4, 4


def test_the_memory_report_gives_bytes_by_space():
    spaces = memory_spaces((DATA / "memory-usage-report.txt").read_text())
    assert spaces["default"] == 15_957_857_856
    assert "host" not in spaces


def test_what_is_alive_at_the_peak_does_not_overlap_and_fills_the_heap():
    buffers = temporaries((DATA / "buffer-assignment.txt").read_text(), (DATA / "live-range.txt").read_text())
    present = alive(buffers, peak_moment(buffers))
    ends = sorted((buffer.offset, buffer.offset + buffer.size) for buffer in present)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert 11.5 * GB < sum(buffer.size for buffer in present) < 12.5 * GB
    saved = next(buffer for buffer in present if buffer.dims == (4, 1, 65536, 5120))
    assert (saved.dtype, saved.size) == ("bf16", 4 * 65536 * 5120 * 2)


def test_kernels_are_counted_with_the_trips_of_their_loops():
    # Every layer runs its forward kernel at every hop, twice because nothing was saved; the backward kernel once.
    for name in ("riding_fusions", "sparse_core"):
        runs = kernel_runs(read_program(program_text(name)))
        assert runs == {"attention_forward": 2 * LAYERS * HOPS, "attention_backward": LAYERS * HOPS}


def test_keys_travel_behind_attention():
    rows = collectives(read_program(program_text("riding_fusions")))
    [forward] = [c for c in rows if c.kind == "collective-permute" and c.where == "forward, in a loop"]
    keys = 2 * 8 * 65536 * 128 * 2  # keys and values of a quarter of the row
    assert (forward.count, forward.bytes) == (LAYERS * (HOPS - 1), LAYERS * (HOPS - 1) * keys)
    assert (forward.asynchronous, forward.overlapped_with) == (True, "attention")


def test_collectives_that_ride_in_fusions_count_once_and_as_asynchronous():
    rows = collectives(read_program(program_text("riding_fusions")))
    gathers = [c for c in rows if c.kind == "all-gather" and c.where == "forward, in a loop"]
    weights = 2 * (2 * 5120 * 4096 + 2 * 5120 * 1024 + 3 * 5120 * 16384)
    sides = 2 * 4 * 65536 * 4  # positions and segment ids of the whole row
    assert sum(c.bytes for c in gathers) == LAYERS * (weights + sides)
    riding = [c for c in gathers if c.asynchronous]
    assert [c.overlapped_with for c in riding] == ["matmul"]
    assert 0 < sum(c.bytes for c in riding) < LAYERS * weights


def test_reductions_of_weight_gradients_make_the_device_wait_unless_sparse_cores_take_them():
    for name, waits in (("riding_fusions", True), ("sparse_core", False)):
        rows = [
            c
            for c in collectives(read_program(program_text(name)))
            if c.kind == "reduce-scatter" and c.where == "backward, in a loop"
        ]
        assert sum(c.count for c in rows) == 7 * LAYERS
        assert all(c.asynchronous is not waits for c in rows)


def test_on_sparse_cores_no_collective_of_a_layer_makes_the_device_wait():
    rows = collectives(read_program(program_text("sparse_core")))
    assert not [c for c in rows if "in a loop" in c.where and not c.asynchronous]


def test_sizes_of_types():
    assert array_bytes("(bf16[2,8]{1,0:T(8,128)}, s32[], f32[3]{0})") == 32 + 4 + 12
    assert array_bytes("pred[]") == 1
