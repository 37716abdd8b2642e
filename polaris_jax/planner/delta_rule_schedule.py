"""How long a kernel of the gated delta rule takes by the compiler's own schedule, as ``kernel_schedule`` for attention.

A grid step is a program without loops for a chunk of some heads. So the cycles are its bundles times the steps, divided
by the TensorCores that the grid is spread over.
"""

import dataclasses
import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from polaris_jax import storage
from polaris_jax.planner.kernel_schedule import (
    MATRIX_UNITS,
    check,
    compile_kernel,
    dumped,
    read_bundles,
    read_utilization,
    source_key,
)
from polaris_jax.planner.verdict import cache_folder


@dataclass(frozen=True)
class DeltaRuleCase:
    """The ``forward`` (as in training) or ``backward`` kernel on a chip of ``sharding.chips``.

    Attributes:
      tokens, rows: of a device. key_heads, group: key heads, and value heads to each; key_dim, value_dim: of a head.
      sizes: tokens of a chunk and value heads of a grid step; None: those of ``delta_rule_tpu``.
    """

    which: str
    chip: str
    tokens: int = 8192
    rows: int = 1
    key_heads: int = 16
    group: int = 2
    key_dim: int = 128
    value_dim: int = 128
    sizes: tuple[int, int] | None = None


@dataclass(frozen=True)
class DeltaRuleSchedule:
    """What the compiler made of a kernel.

    Attributes:
      chunk: tokens of a grid step. heads: value heads of it. steps: of the grid. cores: TensorCores that share them.
      bundles: of a grid step, with every branch taken. minimum: cycles that the matrix units need for it.
      slots: share of the slots of each unit that a step takes. spills: stores to spill registers per bundle.
    """

    chunk: int
    heads: int
    steps: int
    cores: int
    bundles: int
    minimum: float
    slots: dict[str, float]
    spills: float
    libtpu: str

    def seconds(self, chip: str) -> float:
        """Least seconds of the whole call."""
        return max(self.bundles, self.minimum) * self.steps / self.cores / MATRIX_UNITS[chip].clock


def delta_rule_schedule(case: DeltaRuleCase, *, cached: bool = True) -> DeltaRuleSchedule:
    """Compiles one kernel (20 seconds, in a process of its own) and reads its schedule, or finds it on disk.

    Raises:
      InputError: libtpu is not installed, or an unknown chip or kernel.
      RunError: the compiler refused the kernel; carries its last words.
    """
    version = check(case)
    key = source_key(case, version, "delta_rule_tpu*.py", "*kernel*.py") + "-delta-rule"
    file = cache_folder() / "kernels" / f"{key}.json"
    if cached and file.exists():
        return DeltaRuleSchedule(**json.loads(file.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="polaris-kernel-") as folder:
        shape = compile_kernel("delta_rule", case, Path(folder))
        text = functools.partial(dumped, Path(folder), f"delta_rule_{case.which}")
        capacities, use = read_utilization(text("final_hlo-static-per-bundle-utilization.txt"))
        step = [at for at, depth in enumerate(read_bundles(text("-final_bundles.txt")).depth) if depth]
        used = {
            name: sum(use[at][unit] for at in step if at < len(use)) / len(step) for unit, name in enumerate(capacities)
        }
        heads = shape["keys"] * shape["group"]
        found = DeltaRuleSchedule(
            chunk=shape["chunk"],
            heads=heads,
            steps=case.rows * case.key_heads * case.group // heads * shape["chunks"],
            cores=2 if "BarrierMegacore" in text("-original.txt") else 1,
            bundles=len(step),
            minimum=matrix_minimum(case, shape["chunk"], shape["keys"]),
            slots={name: round(used[name] / capacity, 3) for name, capacity in capacities.items()},
            spills=round(used["VSTORE:SPILL"], 3),
            libtpu=version,
        )
    storage.write_cache(file, json.dumps(dataclasses.asdict(found)).encode())
    return found


def matrix_minimum(case: DeltaRuleCase, chunk: int, keys: int) -> float:
    """Cycles of the matrix units of one core for a grid step, as the products of the kernels are laid out."""
    C, R, dk, dv = chunk, case.group, case.key_dim, case.value_dim
    wide = R * dv
    shared = [(2 * C, dk, C), (2 * C, dk, wide)]  # of every key head: overlaps and scores, reads of the memory
    if case.which == "forward":
        levels = C.bit_length() - 2  # blocks of 2, 4, ... C / 2
        rows = [C if level < 2 else C // 2 for level in range(levels)]
        each = [(n, C, C) for n in rows] * 2 + [(C, C, dv)] * 2
        products = [*shared, *(each * R), (dk, C, wide)]
    else:
        each = [(C, C, dv)] * 3 + [(2 * C, dv, C)]
        gradients = [(2 * C, wide, dk), (dk, 2 * C, wide), (2 * C, C, dk), (C, 2 * C, dk), (C, wide, dk)]
        products = [*shared, (C, dk, wide), *(each * R), *gradients]
    return keys * sum(MATRIX_UNITS[case.chip].cycles(*product) for product in products)
