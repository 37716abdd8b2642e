"""What the 14B needs on TPU slices, beside MaxText at the same shape: the table of benchmarks/RESULTS.md ("Plans").

    python benchmarks/plan_table.py [NAME ...] [--out=benchmarks/plan_table.json] [--full] [--option=xla_flag=value ...]

Every row is `polaris plan` of configs/ministral3_14b_books_1m.py with overrides: the real train step, compiled by
libtpu for the slice, half a minute to a few minutes each. Verdicts are kept on disk: a stopped run goes on.
MaxText's numbers were taken the same way: its own `train_compile` at git e591f30, Muon, bfloat16 weights and moments
unless the row says float32, ring attention over all chips, the best memory settings found. GB are 1e9 bytes per chip.
"""

import argparse
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax import storage
from polaris_jax.planner import PlanVerdict, largest_context, plan
from polaris_jax.planner.verdict import GIB
from polaris_jax.training import load_config

CONFIG = Path(__file__).parents[1] / "polaris_jax" / "configs" / "ministral3_14b_books_1m.py"
K, M = 1 << 10, 1 << 20
SAVE = ("model.remat=attention", "model.context_method=two_level")  # the fastest
AGAIN = ("model.remat=full", "model.context_method=ring")  # the smallest
OFFLOAD = ("model.remat=full", "model.context_method=two_level", "model.offload=True", "model.segments=1")


@dataclass(frozen=True)
class Row:
    """One line: ours, MaxText's HBM (GB, or words), and the bars it is held against (None: none)."""

    name: str
    topology: str
    window: int
    overrides: tuple[str, ...]
    maxtext: str = "–"
    hbm: float | None = None
    host: float | None = None
    mfu: float | None = None
    permuted: float | None = None
    largest: bool = False


ROWS = (
    Row("1-262k-offload", "v5p-2", 256 * K, OFFLOAD, hbm=102.8),
    Row("4-1m-offload", "v5p-8", M, OFFLOAD, hbm=102.8),
    Row("4-largest", "v5p-8", M, OFFLOAD, largest=True),
    Row("8-largest", "v5p-16", 2 * M, OFFLOAD, largest=True),
    Row("64-largest-offload", "v5p-128", 16 * M, OFFLOAD, largest=True),
    Row("v6e-8-largest", "v6e-8", M, OFFLOAD, largest=True),
    Row("v6e-256-largest", "v6e-256", 32 * M, OFFLOAD, largest=True),
    Row("4-262k", "v5p-8", 256 * K, AGAIN, "70.3", hbm=52),
    Row("4-262k-saved", "v5p-8", 256 * K, SAVE),
    Row("4-512k", "v5p-8", 512 * K, AGAIN, "does not fit (104.1)", hbm=102.8),
    Row("8-262k", "v5p-16", 256 * K, AGAIN, "35.7", hbm=28),
    Row("8-262k-saved", "v5p-16", 256 * K, SAVE),
    Row("8-262k-float32", "v5p-16", 256 * K, (*AGAIN, "optim.precision=fp32_master"), "46.6", hbm=38),
    Row("8-1m", "v5p-16", M, AGAIN, "91.2", hbm=75),
    Row(
        "8-2m-offload",
        "v5p-16",
        2 * M,
        (*AGAIN, "model.offload=True", "model.segments=1"),
        "82.0 + 107.4 host",
        hbm=62,
        host=108,
    ),
    Row(
        "64-262k",
        "v5p-128",
        256 * K,
        (*SAVE, "mesh.context=16", "mesh.fsdp=4", "data.batch_size=4"),
        "19.2 (AdamW)",
        mfu=0.45,
    ),
    Row("64-1m", "v5p-128", M, SAVE, "15.3 (857 GB permuted)", mfu=0.45, permuted=200),
    Row("64-4m", "v5p-128", 4 * M, (*AGAIN, "model.context_method=two_level"), "48.3", hbm=40),
    Row("64-largest", "v5p-128", 4 * M, (*AGAIN, "model.context_method=two_level"), "4M tried", largest=True),
    Row(
        "v6e-262k",
        "v6e-256",
        256 * K,
        (*AGAIN, "mesh.context=8", "mesh.fsdp=32", "data.batch_size=32"),
        "23.3 (AdamW)",
        hbm=18,
    ),
    Row(
        "v6e-262k-parts",
        "v6e-256",
        256 * K,
        (*AGAIN, "mesh.context=32", "mesh.fsdp=8", "data.batch_size=24", "train.microbatches=3"),
        "23.3 (AdamW)",
        hbm=18,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="rows to make; default all")
    parser.add_argument("--out", default=str(Path(__file__).with_suffix(".json")))
    parser.add_argument("--full", action="store_true", help="compile to machine code")
    parser.add_argument("--estimate", action="store_true", help="arithmetic alone: the times, no compiler")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a compiler option")
    arguments = parser.parse_args()
    options = {
        name: {"true": True, "false": False}.get(value, value)
        for name, value in (text.split("=", 1) for text in arguments.option)
    }
    unknown = set(arguments.names) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no row {sorted(unknown)[0]}; they are {', '.join(row.name for row in ROWS)}")
    out = Path(arguments.out)
    made = json.loads(out.read_text()) if out.exists() else {}
    for row in ROWS:
        if row.name in arguments.names or not arguments.names:
            verdict = _verdict(row, full=arguments.full, estimate=arguments.estimate, options=options)
            made[row.name] = {"row": dataclasses.asdict(row)} | _facts(row, verdict)
            storage.write(str(out), json.dumps(made, indent=1).encode())
            print(_line(row, made[row.name]), flush=True)
    print("\n" + table(made))


def _verdict(row: Row, **how) -> PlanVerdict:
    config = load_config(str(CONFIG), (f"data.window={row.window}", *row.overrides))
    if row.largest:
        return largest_context(config, row.topology, say=print, **how)
    return plan(config, row.topology, **how)


def _facts(row: Row, v: PlanVerdict) -> dict:
    waiting = [c for c in v.collectives if "in a loop" in c.where and not c.asynchronous and c.bytes >= 1e6]
    bare = [c for c in v.collectives if "in a loop" in c.where and c.asynchronous and c.overlapped_with == "nothing"]
    facts = {
        "fits": v.fits,
        "source": v.source,
        "window": v.window,
        "hbm_gb": v.hbm_gib_per_chip * GIB / 1e9,
        "host_gb": v.host_gib_per_chip * GIB / 1e9,
        "attention_forward_runs": v.attention_forward_runs,
        "permuted_gb": sum(c.bytes for c in v.collectives if c.kind == "collective-permute") / 1e9,
        "synchronous_gb": sum(c.bytes for c in waiting) / 1e9,
        "uncovered_gb": sum(c.bytes for c in bare) / 1e9,
        "step_time_s": v.step_time_s,
        "step_time_least_s": v.step_time_least_s,
        "mfu": v.mfu,
        "tokens_per_s_per_chip": v.tokens_per_s_per_chip,
        "parts_gib": v.parts,
        "compile_s": v.compile_s,
    }
    held = [(facts["hbm_gb"], row.hbm), (facts["host_gb"], row.host), (facts["permuted_gb"], row.permuted)]
    facts["met"] = (
        v.fits and all(bar is None or value <= bar for value, bar in held) and (row.mfu is None or v.mfu >= row.mfu)
    )
    return facts


def _line(row: Row, facts: dict) -> str:
    return (
        f"{row.name}: {'fits' if facts['fits'] else 'does not fit'} {facts['hbm_gb']:.1f} GB, "
        f"{facts['step_time_least_s']:.1f} s at least, {facts['step_time_s']:.1f} s expected, MFU {facts['mfu']:.1%}, "
        f"synchronous {facts['synchronous_gb']:.1f} GB, "
        f"{'met' if facts['met'] else 'NOT MET'}"
    )


def table(made: dict) -> str:
    """The rows as Markdown."""
    lines = [
        "| slice | tokens | attention forward | MaxText GB | ours GB | host GB | bar | permuted GB | "
        "synchronous GB in loops | step s at least | expected | MFU expected | met |",
        "|---" * 13 + "|",
    ]
    for row in ROWS:
        if row.name in made:
            f = made[row.name]
            bars = [
                f"≤ {row.hbm:g}" if row.hbm else "",
                f"host ≤ {row.host:g}" if row.host else "",
                f"MFU ≥ {row.mfu:.0%}" if row.mfu else "",
                f"permuted ≤ {row.permuted:g}" if row.permuted else "",
            ]
            runs = f"{f['attention_forward_runs']:g} ×" if f["attention_forward_runs"] else "–"
            lines.append(
                f"| {row.topology} {' '.join(row.overrides[3:])} | {f['window']:,} | {runs} | {row.maxtext} "
                f"| {f['hbm_gb']:.1f} | {f['host_gb']:.1f} | {', '.join(filter(None, bars)) or '–'} "
                f"| {f['permuted_gb']:.0f} | {f['synchronous_gb']:.1f} | {f['step_time_least_s']:.1f} "
                f"| {f['step_time_s']:.1f} | {f['mfu']:.1%} "
                f"| {'yes' if f['met'] else 'no'} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
