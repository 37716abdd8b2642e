"""What a post-training run needs and takes on a slice: memory per phase, hours, dollars, judge calls.

The one place that needs both ``planner`` and ``rl``. A step has phases that do not meet in memory: responses are
written with weights and caches laid out for decoding (``rl.rollout_weights``), then both are let go and the learner
computes log-probabilities, gradients and the update. Where libtpu is installed each phase's program is compiled for
the slice, one after the other, and its memory and collectives are read from the compiler's files, and kept on disk;
without it, or when asked, arithmetic answers and says so.

Times are arithmetic: decoding by the bytes that a token reads, the rest by ``planner.roofline``. Every response is
taken to be as long as it may be.
"""

import dataclasses
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import RunError
from polaris_jax.models.cache import init_cache
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.describe import describe
from polaris_jax.models.model_folder import read_config
from polaris_jax.models.weights import abstract_params, weight_table
from polaris_jax.options import build
from polaris_jax.planner import analytic, dump, hlo, roofline
from polaris_jax.planner.compile import compile_program, compiler_version
from polaris_jax.planner.compiler_process import main
from polaris_jax.planner.topology import Slice, find_slice
from polaris_jax.planner.traffic import expected_collectives
from polaris_jax.planner.verdict import GIB, cache_key, read_record, write_record
from polaris_jax.prices import read_prices
from polaris_jax.rl.config import AnyRlConfig, RlConfig, judge_spec, rl_config
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.objective import FIELDS, grpo
from polaris_jax.rl.preflight import judge_forecast
from polaris_jax.rl.rollout_weights import rollout_axes, rollout_mesh
from polaris_jax.rl.rows import INTEGERS
from polaris_jax.rl.updating import grpo_options
from polaris_jax.sampling.programs import DecodeState, append, state_sharding
from polaris_jax.sharding import activation_spec, resolve_sizes
from polaris_jax.training.config import TrainConfig, flatten
from polaris_jax.training.mesh_fit import check_model_fits
from polaris_jax.training.setup import set_up

# Phases by the name of the program that is compiled for each.
PROGRAMS = {
    "rollout": "append",
    "log-probabilities": "logprobs",
    "gradients": "value_and_grad",
    "update": "apply",
}
_MORE_CODE = ("rl", "sampling", "post_training_plan.py")  # what shapes these programs besides a training step's rooms
# Seconds that a collective takes whatever it carries, and the share of the memory's bandwidth that reading weights and
# caches reaches: assumed, nobody has measured these programs on a chip.
COLLECTIVE_LATENCY, BANDWIDTH_SHARE = 5e-6, 0.75
JUDGE_LATENCY = 20.0  # seconds per answer, assumed; a step waits for its last one


@dataclass(frozen=True)
class Phase:
    """One phase of a step.

    Attributes:
      seconds: per step, by expectation; least: by bandwidth and schedule alone.
      hbm_gib: per chip at the peak; resident_gib: of that, the learner's state and reference policy beside the program.
      moved_gb: what collectives bring to a chip, 10^9 bytes: per decoded token in ``rollout``, else per run of the
        program.
    """

    name: str
    seconds: float
    least: float
    hbm_gib: float
    resident_gib: float
    moved_gb: float
    fits: bool


@dataclass(frozen=True)
class PostTrainingVerdict:
    """A run on a slice.

    Attributes:
      source: "compiler" or "analytic": where memory and traffic come from.
      mesh, rollout_mesh: devices per axis while learning and while writing.
      tokens: of a step, every response as long as it may be.
      step_s, step_least_s: device time of a step; judge_wait_s: what a step waits for the judge besides.
      usd: device dollars of the run at list price; None without a price.
      judge_calls, judge_usd: of the run; None where no model judges, or its price is unknown.
    """

    topology: str
    layout: str
    chips: int
    source: str
    mesh: dict[str, int]
    rollout_mesh: dict[str, int]
    phases: tuple[Phase, ...]
    hbm_limit_gib: float
    fits: bool
    steps: int
    rows: int
    tokens: int
    step_s: float
    step_least_s: float
    judge_wait_s: float
    hours: float
    usd: float | None
    judge_calls: int | None
    judge_usd: float | None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def plan_post_training(
    config: AnyRlConfig, topology: str, *, estimate: bool = False, cached: bool = True
) -> PostTrainingVerdict:
    """What ``config`` needs and takes on ``topology``; neither data nor weights are read.

    Args:
      estimate: arithmetic only, even where the compiler is installed; seconds instead of minutes.
      cached: read from disk what this compiler said of a phase before, so that an interrupted plan goes on.

    Raises:
      InputError: a config that cannot be laid out over the slice.
      RunError: the compiler's process came to no verdict.
    """
    config, slice_ = rl_config(config), find_slice(topology)
    model = read_config(config.model.path, shape_only=True)
    sizes = resolve_sizes(config.mesh.sizes(), slice_.devices)
    check_model_fits(model, sizes)
    axes = rollout_axes(config, model, slice_.devices)
    version = None if estimate else compiler_version()
    work = _Work(config, model, slice_, sizes, axes)
    measured = {
        name: work.arithmetic(name) if version is None else work.by_compiler(name, version, cached=cached)
        for name in PROGRAMS
    }
    return work.verdict(measured, "analytic" if version is None else "compiler")


@dataclass(frozen=True)
class _Needs:
    """Of one program on a device: bytes at the peak, and the collectives of one run."""

    memory: float
    collectives: Sequence[hlo.Collective]

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "_Needs":
        return cls(record["memory"], [hlo.Collective(**row) for row in record["collectives"]])


class _Work:
    def __init__(
        self, config: RlConfig, model: ModelConfig, slice_: Slice, sizes: dict[str, int], axes: dict[str, int]
    ):
        self.config, self.model, self.slice, self.sizes, self.axes = config, model, slice_, sizes, axes
        self.length = config.data.max_prompt_tokens + config.rollout.max_tokens
        self.rows = config.rl.prompts_per_step * config.rl.group_size
        human = config.rl.prompts_per_step * (config.rl.human_reference.peak > 0 or config.rl.objective == "orpo")
        self.written = self.rows - human
        self.windows = config.rl.micro_windows * sizes["data"] * sizes["fsdp"]
        # As few calls as the tokens allow: several rows share a window where they fit.
        self.parts = math.ceil(math.ceil(self.rows * self.length / config.rl.window) / self.windows)
        self.train = self._as_training()
        state = analytic.state_bytes(self.train, model, sizes)
        self.state = state.parameters + state.optimizer
        self.reference = state.parameters if config.rl.kl_coef else 0

    def _as_training(self) -> TrainConfig:
        """The supervised run whose step costs what the learner's phases cost."""
        rows, both = flatten(self.config), ("model", "loss", "optim", "adapter")
        shared = {name: value for name, value in rows.items() if name.split(".")[0] in both}
        shared |= {f"mesh.{axis}": size for axis, size in self.sizes.items()}
        shared |= {
            "data.window": self.config.rl.window,
            "data.batch_size": self.windows * self.parts,
            "train.microbatches": self.parts,
        }
        return build(TrainConfig, shared)

    def by_compiler(self, phase: str, version: str, *, cached: bool) -> _Needs:
        """What the compiler of this ``version`` says, or said before: it is kept on disk, and prices are not."""
        rows = json.loads(json.dumps(flatten(self.config)))
        programs = {name: row for name, row in rows.items() if name.split(".")[0] not in ("judge", "rewards")}
        told = {"phase": phase, "LIBTPU_INIT_ARGS": os.environ.get("LIBTPU_INIT_ARGS", "")}
        key = cache_key(programs, repr(self.model), self.slice.title, "compiler", version, told, _MORE_CODE)
        if cached and (known := read_record(key, _Needs.from_json)):
            return known
        needs = self._compiled(phase, rows)
        write_record(key, dataclasses.asdict(needs))
        return needs

    def _compiled(self, phase: str, rows: dict[str, object]) -> _Needs:
        """By the TPU compiler, in a process of its own."""
        folder = Path(tempfile.mkdtemp(prefix="polaris-plan-"))
        asked = {
            "config": rows,
            "topology": self.slice.topology_name,
            "options": {},
            "phase": phase,
        }
        try:
            compiled = compile_program(asked, folder, module="polaris_jax.post_training_plan", program=PROGRAMS[phase])
            report, program = compiled.text("memory-usage-report.txt"), compiled.text("after_optimizations.txt")
            if report is None or program is None:
                raise RunError(f"{phase}: the compiler left no memory report; it said {compiled.error}")
            return _Needs(dump.memory_spaces(report)["default"], hlo.collectives(hlo.read_program(program)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def arithmetic(self, phase: str) -> _Needs:
        """From sizes alone."""
        if phase == "rollout":
            return _Needs(self.decode_weights + self.caches(self.length), self._decode_collectives())
        state = analytic.state_bytes(self.train, self.model, self.sizes)
        needs = analytic.memory(self.train, self.model, self.sizes)
        learning = needs.total - state.parameters - state.optimizer
        if phase == "update":
            return _Needs(self.state + 2 * state.gradients + 2 * state.largest, ())
        if phase == "gradients":
            return _Needs(learning, expected_collectives(self.train, self.model, self.sizes))
        return _Needs(learning - 3 * state.gradients, ())

    def _decode_collectives(self) -> list[hlo.Collective]:
        """Two sums of activations per layer over ``tensor``, and the vocabulary's parts for sampling."""
        tensor, rows = self.axes["tensor"], self.config.rollout.slots // self.axes["data"]
        if tensor == 1:
            return []
        times = 2 * self.model.num_layers
        return [
            hlo.Collective(
                "all-reduce", "in a loop", times, times * rows * self.model.hidden_size * 2, False, "nothing"
            )
        ]

    @property
    def decode_weights(self) -> float:
        """Bytes of the rollouts' weights on a device."""
        size = jnp.dtype(self.config.model.compute_dtype).itemsize
        shapes = analytic.local_shapes(weight_table(self.model), self.axes)
        return sum(math.prod(shape) for shape in shapes.values()) * size

    def caches(self, length: float) -> float:
        """Bytes of the rollouts' caches on a device, at so many tokens per row."""
        rollout = self.config.rollout
        size = jnp.dtype(rollout.cache_dtype or self.config.model.compute_dtype).itemsize
        rows = rollout.slots / self.axes["data"] / self.axes["context"]
        return rows * describe(self.model).cache_bytes(int(length), bytes_per_number=size) / self.axes["tensor"]

    def seconds(self, phase: str, collectives: Sequence[hlo.Collective]) -> tuple[float, float]:
        """``(expected, at least)`` of a step."""
        if phase == "rollout":
            return self._decode_seconds(collectives)
        whole = roofline.estimate(self.train, self.model, self.slice, self.sizes, list(collectives))
        if phase == "gradients":
            return whole.seconds, whole.least
        if phase == "update":
            return 0.0, 0.0  # the optimizer's memory traffic is among the terms of the gradients
        if not self._needs_logprobs:
            return 0.0, 0.0
        forward = describe(self.model).flops_per_token(self.length).total * self.parts * self.windows
        chip = self.slice.chip
        seconds = forward * self.config.rl.window / self.slice.devices / chip.flops
        return seconds / roofline.PRODUCTS[chip.name], seconds

    @property
    def _needs_logprobs(self) -> bool:
        rl = self.config.rl
        return rl.objective == "orpo" or bool(rl.kl_coef) or rl.epochs * rl.minibatches > 1

    def _decode_seconds(self, collectives: Sequence[hlo.Collective]) -> tuple[float, float]:
        """Weights, half-full caches and states are read once per token; activations travel after every layer."""
        chip = self.slice.chip
        read = (self.decode_weights + self.caches(self.length / 2)) / chip.hbm
        dense = 2.0 * describe(self.model).total * self.config.rollout.slots / self.slice.devices / chip.flops
        travel = sum(
            roofline.seconds_for(c.kind, c.bytes, self.axes["tensor"], self.slice) + c.count * COLLECTIVE_LATENCY
            for c in collectives
        )
        waves = math.ceil(self.written / self.config.rollout.slots)
        tokens = waves * self.config.rollout.max_tokens
        return tokens * (max(read / BANDWIDTH_SHARE, dense) + travel), tokens * max(read, dense)

    def verdict(self, measured: dict[str, _Needs], source: str) -> PostTrainingVerdict:
        """Everything together."""
        config, chip, phases = self.config, self.slice.chip, []
        per_chip = chip.devices_per_chip / GIB
        for name, needs in measured.items():
            resident = 0 if name == "update" else self.state
            resident += self.reference
            seconds, least = self.seconds(name, needs.collectives)
            moved = sum(c.bytes for c in needs.collectives) * chip.devices_per_chip / 1e9
            total = needs.memory + resident
            phases.append(
                Phase(name, seconds, least, total * per_chip, resident * per_chip, moved, total <= chip.hbm_limit)
            )
        step, least = sum(p.seconds for p in phases), sum(p.least for p in phases)
        spec = judge_spec(config, "judge")
        forecast = judge_forecast(spec, config, (), ())
        wait = JUDGE_LATENCY if forecast else 0.0
        hours = config.train.steps * (step + wait) / 3600
        per_hour = read_prices().chip_hours(chip.name, self.slice.chips)
        return PostTrainingVerdict(
            topology=self.slice.name,
            layout=self.slice.layout,
            chips=self.slice.chips,
            source=source,
            mesh=self.sizes,
            rollout_mesh=self.axes,
            phases=tuple(phases),
            hbm_limit_gib=chip.hbm_limit * per_chip,
            fits=all(phase.fits for phase in phases),
            steps=config.train.steps,
            rows=self.rows,
            tokens=self.rows * self.length,
            step_s=step,
            step_least_s=least,
            judge_wait_s=wait,
            hours=hours,
            usd=None if per_hour is None else per_hour * hours,
            judge_calls=None if forecast is None else forecast.calls,
            judge_usd=None if forecast is None else forecast.usd,
        )


def lower_phase(asked: dict, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
    """The program of ``asked["phase"]`` lowered for ``devices``; weights, state and batch are shapes."""
    config = build(RlConfig, asked["config"])
    setup = set_up(config, devices=devices, shape_only=True)
    if asked["phase"] == "rollout":
        return _lower_decoding(config, setup.model, setup.mesh)
    learner = Learner(config, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
    compute = jnp.dtype(config.model.compute_dtype)

    def like_params(dtype: Any) -> Any:
        return jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, dtype, sharding=p.sharding), setup.abstract.params)

    def batch(*parts: int) -> dict[str, jax.ShapeDtypeStruct]:
        spec = P(*(None,) * len(parts), *activation_spec(("batch", "sequence")))
        where, shape = NamedSharding(setup.mesh, spec), (*parts, learner.windows, config.rl.window)
        names = dict.fromkeys(INTEGERS, jnp.int32) | dict.fromkeys(FIELDS if parts else (), jnp.float32)
        return {name: jax.ShapeDtypeStruct(shape, kind, sharding=where) for name, kind in names.items()}

    if asked["phase"] == "log-probabilities":
        return learner.logprob_program.lower(like_params(compute), batch(), setup.abstract.frozen)
    if asked["phase"] == "gradients":
        objective = grpo(grpo_options(config))
        wanted = jax.ShapeDtypeStruct((), jnp.int32)
        return learner.gradient_program(objective).lower(like_params(compute), batch(8), wanted, setup.abstract.frozen)
    loss = jax.ShapeDtypeStruct((), jnp.float32, sharding=NamedSharding(setup.mesh, P()))
    return learner.update_program.lower(setup.abstract, loss, like_params(jnp.float32))


def _lower_decoding(config: RlConfig, model: ModelConfig, learner_mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
    """One token of every slot, the caches at their full length."""
    mesh, slots = rollout_mesh(config, model, learner_mesh), config.rollout.slots
    compute = jnp.dtype(config.model.compute_dtype)
    length = config.data.max_prompt_tokens + config.rollout.max_tokens
    rows = model.vocab_rows or model.vocab_size

    def empty() -> DecodeState:
        cache = init_cache(model, slots, length, jnp.dtype(config.rollout.cache_dtype or compute))
        return DecodeState(cache, jnp.zeros((slots, rows)))

    params, state = abstract_params(model, compute, mesh), jax.eval_shape(empty)
    everywhere = None
    if mesh is not None:
        everywhere = NamedSharding(mesh, P())
        state = jax.tree.map(
            lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), state, state_sharding(mesh, state)
        )
    ids = jax.ShapeDtypeStruct((slots, 1), jnp.int32, sharding=everywhere)
    valid = jax.ShapeDtypeStruct((slots,), jnp.int32, sharding=everywhere)
    return append.lower(params, state, ids, valid, None, config=model, compute_dtype=compute, mesh=mesh)


if __name__ == "__main__":
    main(lower_phase)
