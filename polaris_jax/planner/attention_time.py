"""A lower bound of attention's time from the kernels' schedules: tiles of each kind times the compiler's cycles.

The schedules are in the table ``kernels.json``, which ``benchmarks/kernel_schedule.py`` makes with the libtpu that each
row names. So a plan needs no compiler for them, and a training run on a slice needs no second one.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from polaris_jax.models.config import ModelConfig
from polaris_jax.ops.tiles import padded_length
from polaris_jax.planner.analytic import context_group
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, RELATIVES, UNIT_KEYS, UNIT_QUERIES, KernelSchedule
from polaris_jax.training.config import TrainConfig, context_method

TABLE = Path(__file__).with_name("kernels.json")
_BLOCK, _LANES = 1024, 128


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


def known_schedule(which: str, chip: str, width: int, window: int | None) -> tuple[KernelSchedule, float]:
    """The nearest row of the table, and the factor of its cycles for heads of another width.

    A head between two widths of the table costs as much as the wider one, because lanes and matrix units are used
    whole. A chip that is not in the table has the schedules of its relative (``RELATIVES``), on its own cores.
    """
    source = chip if chip in measured_chips() else RELATIVES[chip]
    rows = [row for row in table() if row.which == which and row.chip == source]
    widths = sorted({row.width for row in rows})
    nearest = next((known for known in widths if known >= width), widths[-1])
    rows = [row for row in rows if row.width == nearest]

    def distance(row: Known) -> float:
        if row.window is None or window is None:
            return 0.0 if row.window == window else float("inf")
        return abs(row.window - window)

    schedule = min(rows, key=distance).schedule
    return dataclasses.replace(schedule, cores=MATRIX_UNITS[chip].cores), max(1.0, width / nearest)


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
    """Least seconds per device for one forward and one backward pass of all attention layers of a step."""

    forward: float
    backward: float


def attention_time(config: TrainConfig, model: ModelConfig, chip: str, sizes: dict[str, int]) -> AttentionTime:
    """The lower bound by the schedule: no wait for memory or links, every core busy to the end.

    Tokens in zigzag order give every shard the same work, so the whole is divided by the devices.
    """
    units = MATRIX_UNITS[chip]
    group = context_group(config, model, sizes)
    shard = config.data.window // sizes["context"] * group
    tile, _ = padded_length(shard, config.model.attention_block or _BLOCK, _LANES)
    most = shard * (sizes["context"] // group if context_method(config) == "all_gather" else 1)
    devices = sizes["data"] * sizes["fsdp"] * sizes["context"] * sizes["tensor"]
    heads = config.data.batch_size * model.num_heads / devices
    seconds = {"forward": 0.0, "backward": 0.0}
    windows = [
        model.sliding_window if kind == "sliding_attention" else None
        for kind in model.layer_types
        if kind != "linear_attention"
    ]
    for window in set(windows):
        for which in seconds:
            schedule, factor = known_schedule(which, chip, model.head_dim, window)
            q_block, kv_block = (
                _fitting(wanted, tile, length)
                for wanted, length in ((schedule.q_block, shard), (schedule.kv_block, most))
            )
            counts = tile_counts(config.data.window, window, q_block, kv_block)
            cycles = sum(n * _cycles(schedule, kind, q_block, kv_block) for kind, n in counts.items())
            seconds[which] += windows.count(window) * heads * cycles * factor / schedule.cores / units.clock
    return AttentionTime(**seconds)


def _fitting(wanted: int, tile: int, length: int) -> int:
    """The block that a kernel takes if it wants ``wanted`` tokens: no longer than the row that it is cut from."""
    return wanted if wanted <= length and (wanted % tile == 0 or tile % wanted == 0) else min(tile, wanted)


def _cycles(schedule: KernelSchedule, kind: str, q_block: int, kv_block: int) -> float:
    """Cycles of a tile of other blocks than the schedule's: the loop is scaled by area, the rest is the same."""
    loop = next((loop for loop in schedule.loops if loop.kind == kind), schedule.loops[-1])
    area = q_block / UNIT_QUERIES * kv_block / UNIT_KEYS
    return max(loop.bundles, schedule.minimum) * area + schedule.outside_least
