"""A lower bound of attention's time from the kernels' schedules: tiles of each kind times the compiler's cycles.

The schedules are in the table ``kernels.json``, which ``benchmarks/kernel_schedule.py`` makes with the libtpu that each
row names. So a plan needs no compiler for them, and a training run on a slice needs no second one. The blocks are those
that the kernels take (``ops.tile_tpu``). Where the table has none in these blocks, the nearest one is scaled, and the
time says so.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from polaris_jax.models.config import ModelConfig
from polaris_jax.ops import tile_tpu
from polaris_jax.ops.attention_backends import kernel_blocks
from polaris_jax.ops.tiles import padded_length
from polaris_jax.planner.analytic import context_group
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, RELATIVES, UNIT_KEYS, UNIT_QUERIES, KernelSchedule
from polaris_jax.sharding.chips import CHIPS
from polaris_jax.training.config import TrainConfig, context_method

TABLE = Path(__file__).with_name("kernels.json")

# What a tile costs for its size when so few units of a trip run beside each other, over one with eight, by pass: the
# mean of v6e and tpu7x in blocks of 512 and 1024 (benchmarks/RESULTS.md, "Windows"); two units forward lie between. On
# v5p a trip is always one unit.
FEW = {"forward": {1: 1.55, 2: 1.3, 4: 1.04}, "backward": {2: 1.1, 4: 1.03}}


@dataclass(frozen=True)
class Known:
    """A row of the table: which kernel, for which heads and window, and its schedule."""

    which: str
    chip: str
    width: int
    window: int | None
    schedule: KernelSchedule


@lru_cache
def table() -> tuple[Known, ...]:
    """All rows."""
    return tuple(
        Known(**{name: row["case"][name] for name in ("which", "chip", "width", "window")}, schedule=schedule)
        for row in json.loads(TABLE.read_text(encoding="utf-8"))
        for schedule in [KernelSchedule.from_json(row["schedule"])]
    )


@dataclass(frozen=True)
class KernelTime:
    """What a kernel's tiles cost in the blocks that it takes.

    Attributes:
      q_block, kv_block: tokens of a tile. cores: TensorCores that share the grid.
      cycles: of one core for a tile, by kind.
      compiled: whether the table has this kernel in these blocks; else the cycles are scaled from another row.
    """

    q_block: int
    kv_block: int
    cores: int
    cycles: dict[str, float]
    compiled: bool

    def over(self, length: int, window: int | None) -> float:
        """Cycles of one core for one head of a document of ``length`` tokens."""
        counts = tile_counts(length, window, self.q_block, self.kv_block)
        return sum(n * self.cycles[kind] for kind, n in counts.items())


def kernel_time(which: str, chip: str, width: int, window: int | None, blocks: tuple[int, int]) -> KernelTime:
    """Of a ``forward`` or ``backward`` kernel for heads of this width, in these blocks.

    The table's nearest row: of the next width (a head between two costs as much as the wider one, because lanes and
    matrix units are used whole), then of these blocks, then for a window or for none. A chip that is not in the table
    has the schedules of its relative (``RELATIVES``), on its own cores. A row in other blocks is scaled by the tile's
    area and by ``FEW``; what stands outside the loops is the same. A row for no window has no loop for the window's
    edge, which then costs what the other kind with one comparison does.
    """
    source = chip if chip in measured_chips() else RELATIVES[chip]
    rows = [row for row in table() if row.which == which and row.chip == source]
    widths = sorted({row.width for row in rows})
    nearest = next((known for known in widths if known >= width), widths[-1])
    area = _area(*blocks)

    def distance(row: Known) -> tuple[bool, float, bool]:
        found = row.schedule.q_block, row.schedule.kv_block
        return found != blocks, abs(_area(*found) - area), (row.window is None) != (window is None)

    row = min((row for row in rows if row.width == nearest), key=distance)
    schedule, wider = row.schedule, max(1.0, width / nearest)
    scaled = _few(which, source, *blocks) / _few(which, source, schedule.q_block, schedule.kv_block)
    loops = {loop.kind: loop.bundles for loop in schedule.loops}
    loops.setdefault("edge", loops["causal"])
    return KernelTime(
        *blocks,
        MATRIX_UNITS[chip].cores,
        {
            kind: (max(bundles * scaled, schedule.minimum) * area + schedule.outside_least) * wider
            for kind, bundles in loops.items()
        },
        not any(distance(row)[::2]) and nearest >= width,
    )


def _area(q_block: int, kv_block: int) -> float:
    return q_block / UNIT_QUERIES * kv_block / UNIT_KEYS


def _few(which: str, chip: str, q_block: int, kv_block: int) -> float:
    hops = tile_tpu.hops(1.0, None, tile_tpu.UNIT, _kind(chip), blocks=(q_block, kv_block))
    return FEW[which].get(hops.plan(which, tile_tpu.UNIT, q_block, kv_block)["beside"], 1.0)


def _kind(chip: str) -> str:
    """The chip as JAX names it."""
    return CHIPS[chip].kinds[0]


def measured_chips() -> set[str]:
    """The chips in the table."""
    return {row.chip for row in table()}


def tile_counts(length: int, window: int | None, q_block: int, kv_block: int) -> dict[str, int]:
    """The number of tiles of each kind, for one head and one row of ``length`` tokens that is one document."""
    counts = {"full": 0, "causal": 0, "edge": 0, "masked": 0}
    for first in range(0, length, q_block):
        last = min(first + q_block, length) - 1
        end = last // kv_block + 1  # key blocks from here on come later than all queries
        whole = (first + 1) // kv_block  # blocks before this one end before the first query
        if window is None:
            low = inside = 0
        else:
            low = max(0, (first - window + 1) // kv_block)  # blocks before this one are out of every query's window
            inside = max(low, -(-max(0, last - window + 1) // kv_block))  # from here on within all queries' windows
        counts["full"] += max(0, whole - inside)
        counts["causal"] += max(0, end - max(whole, inside))
        counts["edge"] += max(0, min(inside, whole) - low)
        counts["masked"] += max(0, min(inside, end) - max(whole, low))
    return counts


@dataclass(frozen=True)
class AttentionTime:
    """Least seconds per device for one forward and one backward pass of all attention layers of a step.

    ``estimated``: the kernels among them that the table does not have in their blocks, in words.
    """

    forward: float
    backward: float
    estimated: tuple[str, ...] = ()


def attention_time(config: TrainConfig, model: ModelConfig, chip: str, sizes: dict[str, int]) -> AttentionTime:
    """The lower bound by the schedule: no wait for memory or links, every core busy to the end.

    Tokens in zigzag order give every shard the same work, so the whole is divided by the devices.
    """
    devices = sizes["data"] * sizes["fsdp"] * sizes["context"] * sizes["tensor"]
    heads = config.data.batch_size * model.num_heads / devices
    seconds = {"forward": 0.0, "backward": 0.0}
    windows, estimated = _windows(model), []
    for which, window, blocks in kernels_taken(config, model, chip, sizes):
        kernel = kernel_time(which, chip, model.head_dim, window, blocks)
        cycles = windows.count(window) * heads * kernel.over(config.data.window, window)
        seconds[which] += cycles / kernel.cores / MATRIX_UNITS[chip].clock
        if not kernel.compiled:
            under = f" under a window of {window:,}" if window else ""
            estimated.append(f"{which} in blocks of {blocks[0]}×{blocks[1]}{under}")
    return AttentionTime(**seconds, estimated=tuple(estimated))


def kernels_taken(
    config: TrainConfig, model: ModelConfig, chip: str, sizes: dict[str, int]
) -> Iterator[tuple[str, int | None, tuple[int, int]]]:
    """The attention kernels of a step: pass, window and blocks."""
    group = context_group(config, model, sizes)
    shard = config.data.window // sizes["context"] * group
    tile, queries = padded_length(shard, config.model.attention_block or tile_tpu.BLOCK, tile_tpu.UNIT)
    keys = queries * (sizes["context"] // group if context_method(config) == "all_gather" else 1)
    blocks = kernel_blocks(tile_tpu, config.model.attention_block or None)
    for window in dict.fromkeys(_windows(model)):
        hops = tile_tpu.hops(1.0, window, tile, _kind(chip), blocks=blocks)
        for which in ("forward", "backward"):
            plan = hops.plan(which, model.head_dim, queries, keys)
            yield which, window, (plan["q_block"], plan["kv_block"])


def _windows(model: ModelConfig) -> list[int | None]:
    """Of all attention layers."""
    kinds = (kind for kind in model.layer_types if kind != "linear_attention")
    return [model.sliding_window if kind == "sliding_attention" else None for kind in kinds]
