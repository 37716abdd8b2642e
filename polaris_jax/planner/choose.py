"""Chooses how keys reach queries: the method for ``config.model.context_method = "auto"`` on a TPU slice.

Every method is estimated by arithmetic. Of those that fit and are about as fast as the fastest, the one with the least
memory is taken, and between equals the one that sends the fewest bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.model_folder import read_config
from polaris_jax.ops.context import METHODS
from polaris_jax.planner import analytic, roofline
from polaris_jax.planner.topology import Slice, mesh_sizes, slice_of
from polaris_jax.planner.traffic import expected_collectives
from polaris_jax.planner.verdict import GIB
from polaris_jax.training.config import AUTO, TrainConfig, replace
from polaris_jax.training.slices import fit_to_slices

_ABOUT = 1.01  # estimates within this factor are equal


@dataclass(frozen=True)
class Option:
    """One method by arithmetic: seconds per step, memory and bytes of traffic per device, and whether it fits."""

    method: str
    seconds: float
    needs: analytic.Memory
    traffic: float
    fits: bool


def context_options(config: TrainConfig, model: ModelConfig, slice_: Slice) -> tuple[Option, ...]:
    """Every method on this slice.

    Raises:
      InputError: a config that cannot be laid out over the slice.
    """
    chip, options = slice_.chip, []
    for method in METHODS:
        one = replace(config, {"model.context_method": method})
        sizes = mesh_sizes(one, slice_, model)
        needs, moved = (analytic.memory(one, model, sizes), expected_collectives(one, model, sizes, slice_.count))
        time = roofline.estimate(one, model, slice_, sizes, moved, offloaded=needs.host)
        options.append(
            Option(
                method,
                time.seconds,
                needs,
                sum(row.bytes for row in moved),
                needs.total <= chip.hbm_limit and needs.host <= chip.host_bytes,
            )
        )
    return tuple(options)


def best(options: tuple[Option, ...]) -> Option:
    """The option to take; if nothing fits, the one that needs the least memory."""
    left = [one for one in options if one.fits]
    if left:
        left = _about_least(left, lambda one: one.seconds)
    left = _about_least(left or list(options), lambda one: one.needs.total)
    return min(left, key=lambda one: one.traffic)


def choose_context_method(
    config: TrainConfig, device_kind: str, devices: int, slices: int = 1
) -> tuple[TrainConfig, str | None]:
    """Chooses ``config.model.context_method`` if it is ``auto`` and the attached devices are a TPU slice.

    Args:
      device_kind: JAX's name of it. devices: their number over all processes. slices: the number of their slices.

    Returns:
      As ``resolve_context_method``.

    Raises:
      InputError: no model, or a config that cannot be laid out over the slice.
    """
    slice_ = slice_of(device_kind, devices, slices)
    if config.model.context_method != AUTO or slice_ is None:
        return config, None
    fitted, _ = fit_to_slices(config, slices, devices)
    chosen, said = resolve_context_method(fitted, read_config(config.model.path, shape_only=True), slice_)
    return replace(config, {"model.context_method": chosen.model.context_method}), said


def resolve_context_method(config: TrainConfig, model: ModelConfig, slice_: Slice) -> tuple[TrainConfig, str | None]:
    """Chooses ``config.model.context_method`` if it is ``auto``.

    Returns:
      ``(config, choice)``: the config with the chosen method; in words, the choice and every method's estimated time,
      memory and traffic per device, None if nothing was chosen.

    Raises:
      InputError: a config that cannot be laid out over the slice.
    """
    if config.model.context_method != AUTO:
        return config, None
    options = context_options(config, model, slice_)
    method = best(options).method
    each = (
        f"{one.method} {one.seconds:.3g} s, {one.needs.total / GIB:.1f} GiB, {one.traffic / 1e9:.0f} GB sent"
        f"{'' if one.fits else ' (does not fit)'}"
        for one in options
    )
    chosen = replace(config, {"model.context_method": method})
    return chosen, f"context_method {method}; by estimate {'; '.join(each)}"


def _about_least(options: list[Option], of: Callable[[Option], float]) -> list[Option]:
    limit = _ABOUT * min(map(of, options))
    return [one for one in options if of(one) <= limit]
