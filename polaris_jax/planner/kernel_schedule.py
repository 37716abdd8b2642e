"""How long an attention kernel takes by the compiler's own schedule: VLIW bundles per tile, without a chip.

libtpu writes the program of a kernel bundle by bundle, one bundle an issue cycle, and how many slots of each unit every
bundle uses (``--xla_jf_dump_to``; formats of libtpu 0.0.42). These files give the bundles of each loop over a tile, the
slots used and their capacities, spills, the bundles outside the loops, and whether both TensorCores of a chip work. The
schedule leaves out effects of the hardware (waits for transfers, bank conflicts), so its time is a lower bound. If it
feeds the matrix units faster than they run, their own minimum is the bound.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polaris_jax
from polaris_jax import storage
from polaris_jax.errors import InputError, RunError
from polaris_jax.planner.compile import ENVIRONMENT, compiler_version
from polaris_jax.planner.verdict import cache_folder
from polaris_jax.sharding.chips import CHIPS

UNIT_QUERIES, UNIT_KEYS = 1024, 512  # bundles are counted per so many queries × keys
_LIMIT = 3600.0  # seconds for one kernel, on a busy machine
_ADDRESS = re.compile(r"\s*(0x[0-9a-f]+|0)\s+(\S*)\s*: ?(>*)")
_DELAY = 5  # bundles from a branch to where it takes effect
_PIPELINE = ("iteration_bounds", "pipeline-emitter")  # in the text of transfers of the grid's blocks, and their waits
_DUMPED = "final.*|original"  # the stages of the compiler that are read; all of them are ten times the text


@dataclass(frozen=True)
class KernelCase:
    """One attention kernel: ``forward`` or ``backward`` on a chip of ``sharding.chips``.

    Attributes:
      width: of a head. window: sliding window in tokens, or None.
      key_heads, group: key heads, and query heads to each.
      tokens: of the row. The loops are the same for all; but the compiler puts arrays that fit into vector memory there
        whole, and their blocks are then not transferred by the kernel.
      blocks: tokens of a query and of a key block; None: those of the chip's table.
    """

    which: str
    chip: str
    width: int = 128
    window: int | None = None
    key_heads: int = 1
    group: int = 4
    tokens: int = 262_144
    blocks: tuple[int, int] | None = None


@dataclass(frozen=True)
class TileLoop:
    """What one tile of a kind costs.

    Attributes:
      kind: full, causal, edge or masked, see ``ops.tiles``.
      tile: bundles of the whole tile. bundles: the same for 1,024 queries × 512 keys.
      slots: share of the slots of each unit that the tile takes. spills: stores to spill registers per bundle.
    """

    kind: str
    tile: int
    bundles: float
    slots: dict[str, float]
    spills: float


@dataclass(frozen=True)
class KernelSchedule:
    """What the compiler made of a kernel.

    Attributes:
      q_block, kv_block: tokens of a tile. cores: TensorCores that share the grid.
      minimum: cycles that the matrix units need for 1,024 queries × 512 keys.
      outside_least: bundles per tile outside the loops that every tile takes, the transfers of all blocks included;
        outside_most: with every branch taken, as by a tile that is the first and the last of its row.
      capacities: slots per bundle, by unit.
    """

    q_block: int
    kv_block: int
    cores: int
    minimum: float
    outside_least: int
    outside_most: int
    capacities: dict[str, int]
    loops: tuple[TileLoop, ...]
    libtpu: str

    def cycles(self, kind: str) -> float:
        """Cycles of one core for a tile of this kind, including the bundles that every tile takes."""
        loop = next((loop for loop in self.loops if loop.kind == kind), self.loops[-1])
        units = self.q_block / UNIT_QUERIES * self.kv_block / UNIT_KEYS
        return max(loop.tile, self.minimum * units) + self.outside_least

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: dict) -> "KernelSchedule":
        return cls(**record | {"loops": tuple(TileLoop(**loop) for loop in record["loops"])})


@dataclass(frozen=True)
class MatrixUnits:
    """Units of one TensorCore: ``count`` arrays of ``width`` × ``width``, each ``rows`` rows a cycle; ``clock`` in Hz.

    Width, count and peak are published; the clock, and rows a cycle where they are not one, follow from the peak.
    """

    width: int
    count: int
    rows: int
    clock: float
    cores: int

    def cycles(self, rows: int, contracted: int, columns: int) -> float:
        """Cycles of a product ``[rows, contracted] · [contracted, columns]``; the units hold its second factor."""
        held = math.ceil(contracted / self.width) * math.ceil(columns / self.width)
        return rows * held / (self.count * self.rows)


# For chips that are not in the table of schedules: a chip with the same kernels.
RELATIVES = {"v5e": "v5p", "tpu7x": "v6e"}
MATRIX_UNITS = {
    "v5e": MatrixUnits(128, 4, 1, 1.5e9, 1),
    "v5p": MatrixUnits(128, 4, 1, 1.75e9, 2),
    "v6e": MatrixUnits(256, 2, 2, 1.75e9, 1),
    "tpu7x": MatrixUnits(256, 2, 2, 2.2e9, 1),
}


def kernel_schedule(case: KernelCase, *, cached: bool = True) -> KernelSchedule:
    """Compiles one kernel (seconds, in a process of its own) and reads its schedule, or finds it on disk.

    Raises:
      InputError: libtpu is not installed, or an unknown chip or kernel.
      RunError: the compiler refused the kernel; carries its last words.
    """
    version = check(case)
    file = cache_folder() / "kernels" / f"{source_key(case, version)}.json"
    if cached and file.exists():
        return KernelSchedule.from_json(json.loads(file.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="polaris-kernel-") as folder:
        plan = compile_kernel("attention", case, Path(folder))
        found = read_schedule(case, Path(folder), plan, version)
    storage.write_cache(file, json.dumps(found.to_json()).encode())
    return found


def check(case: Any) -> str:
    """The version of the compiler, after a check that it can compile the case.

    Raises:
      InputError: libtpu is not installed, or an unknown chip or kernel.
    """
    version = compiler_version()
    if version is None:
        raise InputError("libtpu", None, "is not installed; pip install libtpu")
    if case.chip not in MATRIX_UNITS:
        raise InputError("chip", case.chip, f"choose one of {', '.join(MATRIX_UNITS)}")
    if case.which not in ("forward", "backward"):
        raise InputError("kernel", case.which, "choose forward or backward")
    return version


def source_key(case: Any, version: str, kernels: str = "*tile*.py", readers: str = "kernel*") -> str:
    """A key that changes with the case (a dataclass), the compiler, and the files of the kernels and their readers."""
    digest = hashlib.sha256(json.dumps([dataclasses.asdict(case), version]).encode())
    for room, files in (("ops", kernels), ("planner", readers)):
        for source in sorted((Path(polaris_jax.__file__).parent / room).glob(files)):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def schedule_dump(folder: str | Path) -> str:
    """The value of ``LIBTPU_INIT_ARGS`` with which the compiler writes its schedules to ``folder``."""
    return f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex={_DUMPED}"


def compile_kernel(kernel: str, case: Any, folder: Path) -> dict:
    """Writes the compiler's files to ``folder``; returns the plan of the kernel from ``kernel_process``.

    Args:
      kernel: "attention" or "delta_rule". case: a dataclass with a ``chip``.
    """
    request = folder / "request.json"
    asked = {"kernel": kernel, "topology": _topology(case.chip)}
    request.write_text(json.dumps(dataclasses.asdict(case) | asked))
    try:
        process = subprocess.run(
            [sys.executable, "-m", "polaris_jax.planner.kernel_process", str(request)],
            env=os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "LIBTPU_INIT_ARGS": schedule_dump(folder)},
            capture_output=True,
            text=True,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired as expired:
        raise RunError(f"the compiler came to no end of {case} within {_LIMIT:.0f} s") from expired
    if process.returncode:
        raise RunError(f"the compiler refused {case}: {process.stderr.strip()[-1500:]}")
    return json.loads((folder / "plan.json").read_text())


def _topology(chip: str) -> str:
    """The smallest slice that the compiler takes: it makes the same kernel for all."""
    flat = CHIPS[chip].torus == 2
    return f"{CHIPS[chip].topology_prefix}:{'2x2' if flat else '2x2x1'}"


def read_schedule(case: KernelCase, folder: Path, plan: dict, version: str) -> KernelSchedule:
    """Reads the schedule from the compiler's files; ``plan`` as ``kernel_process`` writes it."""
    text = functools.partial(dumped, folder, f"attention_{case.which}")
    capacities, use = read_utilization(text("final_hlo-static-per-bundle-utilization.txt"))
    program = read_bundles(text("-final_bundles.txt"))
    regions = program.regions(capacities["MXU"], use)
    kinds = plan["kinds"]
    if len(regions) != len(kinds):
        raise RuntimeError(f"{len(regions)} loops found in {case}, {len(kinds)} expected")
    units = plan["q_block"] / UNIT_QUERIES * plan["kv_block"] / UNIT_KEYS
    loops = []
    for kind, region in zip(kinds, regions, strict=True):
        inner = program.loop_within(region)
        times = [(at, 1) for at in region if inner is None or at not in inner]
        times += [(at, plan["trips"]) for at in inner or ()]
        tile = sum(n for _, n in times)
        slots = {
            name: sum(use[at][column] * n for at, n in times) / tile / capacity
            for column, (name, capacity) in enumerate(capacities.items())
        }
        spills = sum(use[at][list(capacities).index("VSTORE:SPILL")] * n for at, n in times) / tile
        loops.append(TileLoop(kind, tile, tile / units, {k: round(v, 3) for k, v in slots.items()}, round(spills, 3)))
    least, most = program.outside(regions)
    return KernelSchedule(
        plan["q_block"],
        plan["kv_block"],
        2 if "BarrierMegacore" in text("-original.txt") else 1,
        matrix_minimum(case, transposed=plan["transposed"]),
        least,
        most,
        capacities,
        tuple(loops),
        version,
    )


def dumped(folder: Path, kernel: str, ending: str) -> str:
    """The text of the compiler's file on a kernel with this ending."""
    files = (f for f in folder.glob(f"*{kernel}*{ending}") if "schedule-analysis" not in f.name)
    [file] = (f for f in files if "pre-delay" not in f.name)
    return file.read_text(errors="replace")


def matrix_minimum(case: KernelCase, *, transposed: bool) -> float:
    """Cycles of the matrix units of one core for 1,024 queries × 512 keys, as the products are laid out."""
    units, D, Q, K = MATRIX_UNITS[case.chip], case.width, UNIT_QUERIES, UNIT_KEYS
    products = {
        (False, "forward"): [(Q, D, K), (Q, K, D)],
        (True, "forward"): [(K, D, Q), (D + 16, K, Q)],
        (False, "backward"): [(K, D, Q), (K, D, Q), (K, Q, D), (K, Q, D), (Q, K, D)],
        (True, "backward"): [(K, D, Q), (K, D, Q), (D, Q, K), (D, Q, K), (D, K, Q)],
    }[transposed, case.which]
    return sum(units.cycles(*product) for product in products)


def read_utilization(text: str) -> tuple[dict[str, int], list[list[int]]]:
    """Slots per bundle by unit, from the file's own head, and how many each bundle uses."""
    head, _, table = text.partition("== UTILIZATION:")
    names, numbers = head.strip().splitlines()[-2:]
    units = [name.strip() for name in names.split(",")]
    units = [f"{units[i - 1]}:{name[1:]}" if name.startswith(":") else name for i, name in enumerate(units)]
    use = [[int(n) for n in line.split()] for line in table.splitlines() if line.strip()[:1].isdigit()]
    return dict(zip(units, map(int, numbers.split()), strict=True)), use


@dataclass
class Bundles:
    """A kernel's program: how deep each bundle lies in loops, and the forward branches between them.

    ``depth[at]`` for every address; ``skips``: address ranges that a branch may jump over; ``transfers``: addresses of
    the transfers of the grid's blocks and of the waits for them.
    """

    depth: list[int]
    skips: list[range]
    transfers: set[int]

    def regions(self, matrix_slots: int, use: list[list[int]]) -> list[range]:
        """The smallest skippable ranges of the grid's loop in which the matrix units have work: one for each kind."""
        found = []
        for skip in self.skips:
            taken = sum(use[at][0] for at in skip if at < len(use))
            if len(skip) and taken > 0.2 * matrix_slots * len(skip):
                found.append(skip)
        inner = [one for one in found if not any(other != one and _within(other, one) for other in found)]
        return sorted(set(inner), key=lambda one: one.start)

    def loop_within(self, region: range) -> range | None:
        """The bundles of the region's inner loop; None if its only trip was unrolled."""
        deeper = [at for at in region if self.depth[at] > 1]
        return range(deeper[0], deeper[-1] + 1) if deeper else None

    def outside(self, regions: list[range]) -> tuple[int, int]:
        """Bundles of the grid's loop outside the regions: those that no branch skips, and all.

        A branch around transfers of blocks is taken by the first and the last steps of the grid only.
        """
        inside = _addresses(regions)
        grid = [at for at, depth in enumerate(self.depth) if depth and at not in inside]
        skipped = _addresses(skip for skip in self.skips if not self.transfers.intersection(skip))
        return sum(at not in skipped for at in grid), len(grid)


def read_bundles(text: str) -> Bundles:
    """Parses ``final_bundles.txt``."""
    depth: list[int] = []
    branches: list[int] = []
    skips: list[range] = []
    transfers: set[int] = set()
    for line in text.splitlines():
        match = _ADDRESS.match(line)
        at = int(match[1], 16) if match else len(depth) - 1  # a bundle may go on in lines without an address
        if any(word in line for word in _PIPELINE):
            transfers.add(at)
        if match is None:
            continue
        while len(depth) <= at:  # addresses left out get the depth of the line after them
            depth.append(len(match[3]))
        if match[2] == "PF":  # forward branches land here; of nested ones, the outer are assumed to land here too
            skips += [range(branch + _DELAY, at) for branch in branches]
            branches = []
        if "sbr.rel (" in line and match[3] == ">":  # deeper ones go back to the head of their loop
            branches.append(at)
    return Bundles(depth, skips, transfers)


def _within(small: range, large: range) -> bool:
    return large.start <= small.start and small.stop <= large.stop


def _addresses(ranges: Iterable[range]) -> set[int]:
    return {at for one in ranges for at in one}
