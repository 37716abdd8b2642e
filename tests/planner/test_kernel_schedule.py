"""Reading the compiler's files of a kernel: bundles by loop, slots with their capacities, what a branch may skip."""

import pytest
from topology_programs import needs_libtpu

from polaris_jax.errors import InputError
from polaris_jax.planner.kernel_schedule import (
    MATRIX_UNITS,
    KernelCase,
    KernelSchedule,
    TileLoop,
    kernel_schedule,
    matrix_minimum,
    read_bundles,
    read_utilization,
)

HEAD = "== CAPACTIY:\nMXU, XLU, VLOAD, VLOAD:FILL, SALU\n    2     2     3     3     2\n== UTILIZATION:\n"


def program():
    """A grid's loop from 0x2: two bundles, a skippable region with an inner loop and matrix products, one bundle more.

    A branch takes effect four bundles after its own.
    """
    lines, use = [], []

    def add(label, depth, text, matrix=0):
        at = len(lines)
        lines.append(f"  {at:#x} {label:3}: {'>' * depth} {{ {text} }}")
        use.append(f"{matrix} 0 0 0 1")

    for _ in range(2):
        add("", 0, "%1 = smov 0")
    add("LB", 1, "%2 = sadd 1")
    add("", 1, "%3 = sadd 1  ;;  %9 = sbr.rel (%p1) target = $region7")
    for _ in range(4):
        add("", 1, "")
    for i in range(10):
        tail = "%4 = sbr.rel (!%p2) target = $region5" if i == 9 else "%5 = vmatmul"
        add("LB" if i == 0 else "", 2, tail, matrix=2)
    add("PF", 1, "%6 = sadd 1")
    add("", 1, "%7 = sbr.rel (!%p3) target = $region8")
    add("PF", 0, "%8 = smov 0")
    return "\n".join(lines), HEAD + "\n".join(use)


def test_loops_and_what_stands_outside_them():
    text, utilization = program()
    capacities, use = read_utilization(utilization)
    assert capacities == {"MXU": 2, "XLU": 2, "VLOAD": 3, "VLOAD:FILL": 3, "SALU": 2}
    found = read_bundles(text)
    assert len(found.depth) == len(use) == 21
    [region] = found.regions(capacities["MXU"], use)
    assert (region.start, region.stop) == (8, 18)
    assert found.loop_within(region) == range(8, 18)
    assert found.outside([region]) == (8, 8)


def test_bundles_that_a_branch_skips_are_not_of_every_tile():
    text = "\n".join(
        [
            "  0x0 LB : > { %1 = sadd 1  ;;  %2 = sbr.rel (%p) target = $region1 }",
            *(f"  {at:#x}    : > {{ }}" for at in range(1, 9)),
            "  0x9 PF : > { %3 = sadd 1 }",
        ]
    )
    assert read_bundles(text).outside([]) == (6, 10)  # the branch, its four bundles, and where it lands


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%3 = dma.hbm_to_vmem [thread:$0]  (%p4) /* \n base_bounds: (1, 4) iteration_bounds: (1, 4) */ }", 10),
        ("%3 = dma.done.wait (%p4), %s1, 256 /* pipeline-emitter-dma-wait */ }", 10),
        ("%3 = dma.hbm_to_vmem [thread:$0]  (%p4) }", 6),  # the kernel's own: its branch may leave it out
    ],
)
def test_transfers_of_blocks_are_of_every_tile(text, found):
    """Only the first and the last steps of the grid jump over them."""
    lines = ["  0x0 LB : > { %1 = sadd 1  ;;  %2 = sbr.rel (%p) target = $region1 }"]
    lines += [f"  {at:#x}    : > {{ {text if at == 7 else '}'}" for at in range(1, 9)]
    assert read_bundles("\n".join([*lines, "  0x9 PF : > { %3 = sadd 1 }"])).outside([]) == (found, 10)


def test_a_tile_takes_the_larger_of_its_schedule_and_the_matrix_units():
    loops = (TileLoop("full", 1000, 500.0, {}, 0.0), TileLoop("masked", 3000, 1500.0, {}, 0.0))
    schedule = KernelSchedule(1024, 1024, 1, 800.0, 50, 90, {}, loops, "0")
    assert schedule.cycles("full") == 2 * 800 + 50
    assert schedule.cycles("masked") == schedule.cycles("edge") == 3000 + 50
    assert KernelSchedule.from_json(schedule.to_json()) == schedule


def test_matrix_units_hold_whole_squares():
    assert MATRIX_UNITS["v5p"].cycles(1024, 128, 512) == 1024
    assert MATRIX_UNITS["v6e"].cycles(1024, 128, 512) == MATRIX_UNITS["v6e"].cycles(1024, 256, 512) == 512
    assert matrix_minimum(KernelCase("forward", "v5p"), transposed=False) == 2048
    assert matrix_minimum(KernelCase("backward", "v5p"), transposed=False) == 5120
    assert matrix_minimum(KernelCase("forward", "v6e"), transposed=False) == 1024
    assert matrix_minimum(KernelCase("backward", "v6e"), transposed=False) == 2560
    assert matrix_minimum(KernelCase("backward", "v6e"), transposed=True) == 1792


@needs_libtpu
@pytest.mark.parametrize(("which", "chip", "field"), [("sideways", "v6e", "kernel"), ("forward", "v2", "chip")])
def test_an_unknown_kernel_or_chip_is_one_line(which, chip, field):
    with pytest.raises(InputError, match=field):
        kernel_schedule(KernelCase(which, chip))
