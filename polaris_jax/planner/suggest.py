"""Advice for a config that does not fit: the smallest change that makes it fit, and the longest context that fits.

Candidates are judged by arithmetic, scaled so that it agrees with the verdict so far. The reported one has been planned
again, by the compiler if there is one.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.models.model_folder import read_config
from polaris_jax.planner import analytic
from polaris_jax.planner.choose import resolve_context_method
from polaris_jax.planner.plan import plan
from polaris_jax.planner.topology import Slice, axis_sizes, find_slice, larger_slices, mesh_sizes
from polaris_jax.planner.verdict import GIB, PlanVerdict
from polaris_jax.training.config import AnyTrainConfig, TrainConfig, override, train_config

_TRIES = 3  # candidates that are planned before giving up
_STEP = 16384  # tokens: contexts are searched in multiples of it,
_FINE = 64  # and to this part of their length


def with_suggestion(config: AnyTrainConfig, verdict: PlanVerdict, **how: Any) -> PlanVerdict:
    """The verdict; if it does not fit, with overrides that do. ``how``: arguments of ``plan`` for these."""
    if verdict.fits:
        return verdict
    config, tried = train_config(config, data=False), 0
    here = find_slice(verdict.topology, verdict.slices)
    for overrides, slice_ in _candidates(config, here):
        changed = override(config, overrides)
        try:
            if not _predicted(changed, slice_, _scale(config, verdict)):
                continue
            tried += 1
            if plan(changed, slice_.name, slices=slice_.count, **how).fits:
                told = [f"--config.{text}" for text in overrides]
                told += [f"--topology={slice_.name}"] if slice_.name != verdict.topology else []
                return replace(verdict, suggestion=" ".join(told))
        except InputError:
            continue
        if tried == _TRIES:
            break
    return verdict


def largest_context(
    config: AnyTrainConfig,
    topology: str,
    *,
    slices: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    full: bool = False,
    **how: Any,
) -> PlanVerdict:
    """The verdict of the longest window that fits, everything else as in ``config``, to one part in 64.

    Args:
      slices: as for ``plan``.
      say: called with a line for every try.
      full: compile the one that is found to machine code.

    Raises:
      InputError: not even the shortest fits.
    """
    config = train_config(config, data=False)
    slice_ = find_slice(topology, slices or config.mesh.slices or 1)
    step = math.lcm(_STEP, 2 * axis_sizes(config, slice_)["context"])
    good, bad, scale = 0, None, 1.0
    best = None
    while bad is None or bad - good > max(step, good // _FINE):
        window = _longest_predicted(config, slice_, scale, step, good, bad)
        verdict = plan(override(config, [f"data.window={window}"]), topology, slices=slices, **how)
        say(f"{window:,} tokens: {verdict.hbm_gib_per_chip:.1f} of {verdict.hbm_limit_gib:.1f} GiB")
        if verdict.fits:
            good, best = window, verdict
        else:
            bad = window
        scale = _scale(override(config, [f"data.window={window}"]), verdict)
    if best is None:
        raise InputError("--topology", topology, f"not even {step:,} tokens fit; choose a larger slice")
    if not full:
        return best
    return plan(override(config, [f"data.window={good}"]), topology, slices=slices, full=True, **how)


def _longest_predicted(config: TrainConfig, slice_: Slice, scale: float, step: int, good: int, bad: int | None) -> int:
    """The longest window that fits by arithmetic, strictly between one known to fit and one known not to fit."""
    low, high = good // step, (bad or 1 << 28) // step
    first = low
    while high - low > 1:
        middle = (low + high) // 2
        if _predicted(override(config, [f"data.window={middle * step}"]), slice_, scale):
            low = middle
        else:
            high = middle
    return max(low, first + 1) * step


def _needs(config: TrainConfig, slice_: Slice) -> analytic.Memory:
    model = read_config(config.model.path, shape_only=True)
    config, _ = resolve_context_method(config, model, slice_)
    return analytic.memory(config, model, mesh_sizes(config, slice_, model))


def _scale(config: TrainConfig, verdict: PlanVerdict) -> float:
    slice_ = find_slice(verdict.topology, verdict.slices)
    return verdict.hbm_gib_per_chip * GIB / slice_.chip.devices_per_chip / _needs(config, slice_).total


def _predicted(config: TrainConfig, slice_: Slice, scale: float) -> bool:
    chip, needs = slice_.chip, _needs(config, slice_)
    return needs.total * scale <= chip.hbm_limit and needs.host <= chip.host_bytes


def _candidates(config: TrainConfig, here: Slice) -> Iterator[tuple[list[str], Slice]]:
    """Changes from the least to the greatest: what costs nothing, what costs time, what changes the numbers, then money
    or length."""
    free = [
        text
        for text, open_ in (
            ("model.mlp_chunk=2048", config.model.mlp_chunk == 0),
            ("model.segments=8", config.model.segments < 8),
        )
        if open_
    ]
    slower = [
        text
        for text, open_ in (
            ("model.remat=full", config.model.remat != "full"),
            ("model.offload=True", not config.model.offload),
        )
        if open_
    ]
    coarser = [
        text
        for text, open_ in (
            ("optim.state_dtype=bfloat16", config.optim.state_dtype != "bfloat16"),
            ("optim.precision=bf16_stochastic", config.optim.precision == "fp32_master"),
        )
        if open_
    ]
    for change in (*free, *slower):
        yield [change], here
    if free:
        yield free, here
    for change in slower:
        yield [*free, change], here
    if slower:
        yield [*free, *slower], here
    for count in range(1, len(coarser) + 1):
        yield coarser[:count], here
        yield [*free, *slower, *coarser[:count]], here
    for slice_ in larger_slices(here):
        yield _widened(config, slice_.devices), slice_
    window = config.data.window
    while window >= 2 * _STEP:
        window //= 2
        yield [f"data.window={window}"], here


def _widened(config: TrainConfig, devices: int) -> list[str]:
    """The mesh for a larger slice: the context axis grows, unless an axis of the mesh does so by itself (-1)."""
    if -1 in config.mesh.sizes().values():
        return []
    others = config.mesh.data * config.mesh.fsdp * config.mesh.tensor
    return [f"mesh.context={devices // others}"]
