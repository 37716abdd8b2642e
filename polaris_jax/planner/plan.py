"""``plan``: one config on one slice → a verdict, from the compiler where there is one, else from arithmetic."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from polaris_jax.errors import InputError, RunError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.model_folder import read_config
from polaris_jax.planner import analytic, dump, hlo, roofline
from polaris_jax.planner.abstract import to_rows
from polaris_jax.planner.choose import resolve_context_method
from polaris_jax.planner.compile import Compiled, compile_step, compiler_version
from polaris_jax.planner.parts import Shapes, peak_parts, timeline
from polaris_jax.planner.topology import Slice, find_slice, mesh_sizes
from polaris_jax.planner.traffic import expected_collectives
from polaris_jax.planner.verdict import GIB, PlanVerdict, cache_key, read_cached, write_cached
from polaris_jax.prices import read_prices
from polaris_jax.training.config import AnyTrainConfig, TrainConfig, replace, train_config
from polaris_jax.training.slices import fit_to_slices


def plan(
    config: AnyTrainConfig,
    topology: str,
    *,
    slices: int | None = None,
    full: bool = False,
    estimate: bool = False,
    cached: bool = True,
    options: dict | None = None,
    keep: str | None = None,
) -> PlanVerdict:
    """What one optimizer step of ``config`` needs and takes on ``topology``.

    Args:
      config: as for training; neither the data nor the weights are read, only ``config.json`` at ``model.path``.
      topology: a slice's name, ``v5p-16``.
      slices: how many of them, joined by the data-centre network; default ``mesh.slices``, or one.
      full: compile to machine code, which also checks the limits of kernels; minutes to hours.
      estimate: arithmetic only, even where the compiler is installed.
      cached: read the verdict from disk if the same step was planned before with the same compiler.
      options: compiler options. keep: a folder for the compiler's files.

    Raises:
      InputError: a config that cannot be laid out over the slice; one line with the smallest change.
      RunError: the compiler's process came to no verdict.
    """
    config = train_config(config, data=False)
    slice_ = find_slice(topology, (config.mesh.slices or 1) if slices is None else slices)
    config, _ = fit_to_slices(config, slice_.count, slice_.devices)
    model = read_config(config.model.path, shape_only=True)
    sizes = mesh_sizes(config, slice_, model)
    multiple = sizes["data"] * sizes["fsdp"] * config.train.microbatches  # rows are padded where slices are missing
    rows = -(-config.data.batch_size // multiple) * multiple
    config = replace(config, {"data.batch_size": rows, **{f"mesh.{axis}": size for axis, size in sizes.items()}})
    config, choice = resolve_context_method(config, model, slice_)
    version = None if estimate else compiler_version()
    source = "analytic" if version is None else "compiler-full" if full else "compiler"
    told = (options or {}) | {"LIBTPU_INIT_ARGS": os.environ.get("LIBTPU_INIT_ARGS", "")}  # the compiler reads both
    key = cache_key(to_rows(config), repr(model), slice_.title, source, version, told)
    if cached and keep is None and (known := read_cached(key)):
        return dataclasses.replace(known, choice=choice, cost=_cost(config, slice_, known))
    if version is None:
        verdict = _by_arithmetic(config, model, slice_)
    else:
        folder = Path(keep) if keep else Path(tempfile.mkdtemp(prefix="polaris-plan-"))
        try:
            compiled = compile_step(to_rows(config), slice_, folder, full=full, options=options)
            verdict = _by_compiler(config, model, slice_, compiled, source)
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
    write_cached(key, verdict)
    return dataclasses.replace(verdict, choice=choice, cost=_cost(config, slice_, verdict))


def _cost(config: TrainConfig, slice_: Slice, verdict: PlanVerdict) -> dict[str, float] | None:
    """Expected dollars at list price. They are not kept on disk, because prices change."""
    per_hour = read_prices().chip_hours(slice_.chip.name, slice_.all_chips)
    if per_hour is None:
        return None
    step = per_hour * verdict.step_time_s / 3600
    return {
        "usd_per_hour": per_hour,
        "usd_per_step": step,
        "usd_per_million_tokens": step / (verdict.batch_size * verdict.window) * 1e6,
        "usd_per_run": step * config.train.steps,
        "hours_per_run": verdict.step_time_s * config.train.steps / 3600,
        "steps": config.train.steps,
    }


def _by_arithmetic(config: TrainConfig, model: ModelConfig, slice_: Slice) -> PlanVerdict:
    sizes = config.mesh.sizes()
    needs = analytic.memory(config, model, sizes)
    return _verdict(
        config,
        model,
        slice_,
        "analytic",
        needs.total,
        needs.host,
        needs.parts,
        expected_collectives(config, model, sizes, slice_.count),
    )


def _by_compiler(
    config: TrainConfig, model: ModelConfig, slice_: Slice, compiled: Compiled, source: str
) -> PlanVerdict:
    report, program = compiled.text("memory-usage-report.txt"), compiled.text("after_optimizations.txt")
    if report is None or program is None:
        if compiled.error:
            raise InputError("config", slice_.name, f"the compiler refused the step: {compiled.error[:400]}")
        raise RunError("the compiler left no memory report; --keep=DIR keeps its files")
    spaces = dump.memory_spaces(report)
    buffers = dump.temporaries(
        compiled.text("after_optimizations-buffer-assignment.txt") or "", compiled.text("live-range.txt") or ""
    )
    sizes, total = config.mesh.sizes(), spaces["default"]
    if compiled.peak:  # includes host memory, but not the holes of a heap
        total = min(total, compiled.peak)
    shapes, state = Shapes.of(config, model, sizes), analytic.state_bytes(config, model, sizes)
    parts = {"parameters": state.parameters, "optimizer": state.optimizer, **peak_parts(buffers, shapes)}
    parts["workspace"] = max(0, total - sum(parts.values()))
    scheduled = hlo.read_program(program)
    return _verdict(
        config,
        model,
        slice_,
        source,
        total,
        spaces.get("host", 0),
        parts,
        hlo.collectives(scheduled),
        runs=_forward_runs(hlo.kernel_runs(scheduled)),
        compiled=compiled,
        moments=timeline(buffers, shapes),
    )


def _forward_runs(kernels: dict[str, int]) -> float | None:
    """Forward kernels per backward kernel: 1 if attention was saved for the backward pass, 2 if it runs again."""
    forward = sum(runs for name, runs in kernels.items() if "attention_forward" in name)
    backward = sum(runs for name, runs in kernels.items() if "attention_backward" in name)
    return forward / backward if backward else None


def _verdict(
    config: TrainConfig,
    model: ModelConfig,
    slice_: Slice,
    source: str,
    total: int,
    host: int,
    parts: dict[str, int],
    collectives: list[hlo.Collective],
    *,
    runs: float | None = None,
    compiled: Compiled | None = None,
    moments: Sequence[tuple[int, dict[str, int]]] = (),
) -> PlanVerdict:
    chip, sizes = slice_.chip, config.mesh.sizes()
    per_chip = chip.devices_per_chip / GIB
    time = roofline.estimate(config, model, slice_, sizes, collectives, offloaded=host)
    error = compiled.error if compiled else None
    memory_error = error is not None and "hbm" in error.lower()
    return PlanVerdict(
        topology=slice_.name,
        layout=slice_.layout,
        chips=slice_.all_chips,
        mesh=sizes,
        window=config.data.window,
        batch_size=config.data.batch_size,
        context_method=config.model.context_method,
        source=source,
        fits=error is None and total <= chip.hbm_limit and host <= chip.host_bytes,
        hbm_gib_per_chip=total * per_chip,
        hbm_limit_gib=chip.hbm_limit * per_chip,
        host_gib_per_chip=host * per_chip,
        parts={name: size * per_chip for name, size in parts.items()} | {"offloaded": host * per_chip},
        collectives=tuple(collectives),
        step_time_s=time.seconds,
        step_time_least_s=time.least,
        time_source=roofline.source(chip.name, time.estimated),
        terms=time.terms,
        limiting_term=time.limiting_term,
        mfu=time.mfu,
        tokens_per_s_per_chip=time.tokens_per_s_per_chip,
        cost=None,
        attention_forward_runs=runs,
        compile_s=compiled.seconds if compiled else None,
        error=None if memory_error else error,
        slices=slice_.count,
        dcn=None
        if slice_.count == 1
        else {"gb_per_chip": time.dcn_bytes * per_chip * GIB / 1e9, "seconds": time.dcn_seconds},
        timeline=tuple(
            (moment, {name: size * per_chip for name, size in by_part.items()}) for moment, by_part in moments
        ),
    )
