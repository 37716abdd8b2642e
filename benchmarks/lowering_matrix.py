"""The train step lowered for every kind of device, mesh, remat, recipe and family: the matrix of benchmarks/RESULTS.md.

    python benchmarks/lowering_matrix.py [--all | --fast] [--only=TEXT] [--json]

No device is needed: v5p, v6e and tpu7x are described by libtpu and run attention in Pallas kernels; for CUDA the step
is exported with tiles in XLA. Steps are lowered, not compiled: faults of tracing and lowering are found, no others. The
cases are a small set that holds every pair of values of two columns, two slices among the meshes; ``--all`` is the
whole product. Every case can be laid out: any error is a failure, and ends the script with exit code 1.
"""

import argparse
import itertools
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from polaris_jax.planner.compile import ENVIRONMENT

os.environ |= ENVIRONMENT | {"JAX_PLATFORMS": "cpu"}
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
from jax import export
from jax.experimental import topologies

from polaris_jax.planner.abstract import abstract_step
from polaris_jax.training.config import TrainConfig, apply_overrides, default_config, train_config

DEVICES = 8
# A slice of 8 devices, and each of two slices: 4 devices; 8 of tpu7x, which has two to a chip and four chips to a host.
TOPOLOGIES = {
    "v5p": ("v5:2x2x2", "v5:2x2x1"),
    "v6e": ("v6e:2x4", "v6e:2x2"),
    "tpu7x": ("tpu7x:2x2x1", "tpu7x:2x2x1"),
}
BASE = {
    "vocab_size": 1024,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": False,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 2048,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "llama_4_scaling_beta": 0.1,
}
FAMILIES = {
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "sliding_window": 1024},
    "ministral3": {"model_type": "ministral3", "rope_parameters": YARN, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3"},
    "qwen3_5": {
        "model_type": "qwen3_5_text",
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 4,
        "linear_num_value_heads": 8,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "tie_word_embeddings": True,
    },
}
COLLECTIVES = ("all_gather", "reduce_scatter", "all_reduce", "all_to_all", "collective_permute")


@dataclass(frozen=True)
class Case:
    """One row: sizes of the mesh as ``axis=size``, a leading ``2 slices`` where there are two."""

    device: str
    mesh: str
    remat: str
    method: str
    recipe: str
    family: str

    @property
    def slices(self) -> int:
        return 2 if self.mesh.startswith("2 slices") else 1

    @property
    def sizes(self) -> dict[str, int]:
        return {axis: int(size) for axis, size in re.findall(r"(\w+)=(\d+)", self.mesh)}


VALUES = {
    "device": ("v5p", "v6e", "tpu7x", "cuda"),
    "mesh": (
        "data=8",
        "fsdp=8",
        "context=8",
        "tensor=8",
        "fsdp=4 tensor=2",
        "data=2 tensor=4",
        "fsdp=2 context=2 tensor=2",
        "2 slices: data=2 context=2 tensor=2",
        "2 slices: fsdp=8",
    ),
    "remat": ("full", "attention", "dots", "none"),
    "method": ("ring", "two_level", "all_gather"),
    "recipe": ("bf16_stochastic", "fp32_master", "stochastic_downcast"),
    "family": tuple(FAMILIES),
}
# For a run of the fast tests: one per kind of lowering, and recurrent layers over ``context``.
FAST = (
    Case("v5p", "fsdp=2 context=2 tensor=2", "full", "ring", "bf16_stochastic", "ministral3"),
    Case("cuda", "data=2 tensor=4", "attention", "ring", "stochastic_downcast", "qwen3_5"),
    Case("v6e", "context=8", "full", "ring", "fp32_master", "qwen3_5"),
)


def spanning(values: dict[str, tuple[str, ...]]) -> Iterator[Case]:
    """Cases that hold every pair of values of two columns, greedily few: each covers as many new pairs as it can."""
    names = list(values)

    def pairs(row: dict[str, str]) -> set:
        known = [(name, row[name]) for name in names if name in row]
        return set(itertools.combinations(known, 2))

    missing = {
        pair for a, b in itertools.combinations(names, 2) for pair in itertools.product(_of(values, a), _of(values, b))
    }
    while missing:
        row = dict(min(missing, key=lambda pair: [(names.index(n), values[n].index(v)) for n, v in pair]))
        for name in (name for name in names if name not in row):
            row[name] = max(values[name], key=lambda value, name=name: len(pairs(row | {name: value}) & missing))
        missing -= pairs(row)
        yield Case(**row)


def _of(values, name):
    return [(name, value) for value in values[name]]


def config_of(case: Case, folder: Path) -> TrainConfig:
    """The config of a step over 4,096 tokens per row, its model's shape written to ``folder``."""
    model = folder / case.family
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(BASE | FAMILIES[case.family]))
    config = default_config()
    config.model.update({"path": str(model), "remat": case.remat, "context_method": case.method})
    config.model.update({"attention_block": 512, "mlp_chunk": 1024})
    sizes = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1} | case.sizes
    if case.slices > 1 and case.device == "tpu7x":
        sizes["fsdp"] *= 2
    config.mesh.update(sizes)
    config.data.update({"window": 4096, "batch_size": 16})
    config.optim.precision = case.recipe
    return train_config(apply_overrides(config, ()), data=False)


def lower(case: Case, folder: Path) -> str:
    """The text of the lowered step."""
    config = config_of(case, folder)
    if case.device == "cuda":
        step, arguments = abstract_step(config, jax.devices()[:DEVICES])
        return export.export(step, platforms=["cuda"])(*arguments).mlir_module()
    name = TOPOLOGIES[case.device][case.slices - 1]
    more = {"num_slices": case.slices} if case.slices > 1 else {}
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices
    step, arguments = abstract_step(config, devices)
    return step.lower(*arguments).as_text()


def outcome(case: Case, folder: Path) -> dict:
    """``{"result": "lowered" | "failed", "detail", "seconds"}`` of one case, with the case's own fields."""
    start = time.monotonic()
    try:
        text = lower(case, folder)
        counts = {name: len(re.findall(rf"stablehlo\.{name}\b", text)) for name in COLLECTIVES}
        counts = {"kernels": text.count("tpu_custom_call")} | counts
        result, detail = "lowered", ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    except Exception as error:  # any error of tracing or lowering
        result, detail = "failed", " ".join(f"{type(error).__name__}: {error}".split())[:300]
    row = {field.name: getattr(case, field.name) for field in fields(case)}
    return row | {"result": result, "detail": detail, "seconds": round(time.monotonic() - start, 1)}


def main() -> int:
    """Prints a line per case, then the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the whole product of the columns: hours")
    parser.add_argument("--fast", action="store_true", help="the few of the fast tests")
    parser.add_argument("--only", default="", help="cases whose row holds this text")
    parser.add_argument("--json", action="store_true", help="one JSON line per case, and no table")
    arguments = parser.parse_args()
    cases = FAST if arguments.fast else tuple(spanning(VALUES))
    if arguments.all:
        cases = tuple(Case(*row) for row in itertools.product(*VALUES.values()))
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            if arguments.only not in str(case):
                continue
            rows.append(outcome(case, Path(folder)))
            wrong += rows[-1]["result"] != "lowered"
            print(json.dumps(rows[-1]) if arguments.json else rows[-1], flush=True)
            jax.clear_caches()
    if not arguments.json:
        print("\n" + table(rows))
    return 1 if wrong else 0


def table(rows: list[dict]) -> str:
    """Markdown."""
    names = [*VALUES, "result", "detail"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(row[name] for name in names) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
