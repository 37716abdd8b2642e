"""Checks that a model and its rows can be laid out over a mesh. Training and planning share them."""

from collections.abc import Mapping

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.lora import SCALES, VALUES, SplitTable
from polaris_jax.sharding.rules import AxisSizes, weight_spec
from polaris_jax.training.config import TrainConfig
from polaris_jax.training.tensor_axis import misfits


def check_model_fits(model: ModelConfig, sizes: Mapping[str, int]) -> None:
    """Refuses a mesh over which the model cannot be spread.

    Args:
      sizes: devices per mesh axis.

    Raises:
      InputError: names the smallest change.
    """
    tensor = sizes["tensor"]
    if wrong := misfits(model, tensor):
        fits = max(n for n in range(1, tensor) if not misfits(model, n))
        instead = f"--config.mesh.tensor={fits}"
        if tensor % fits == 0:
            instead += f" --config.mesh.fsdp={sizes['fsdp'] * tensor // fits}"
        raise InputError("config.mesh.tensor", tensor, f"cannot share out {' and '.join(wrong)}; set {instead}")


def check_blocks_fit(split: SplitTable, mesh: AxisSizes) -> None:
    """Refuses a ``tensor`` axis that cuts through blocks of a quantised weight.

    Raises:
      InputError: names the axis and what to do.
    """
    for path, weight in split.frozen.items():
        if path[-1] != SCALES:
            continue
        pair = [split.frozen[*path[:-1], name] for name in (VALUES, SCALES)]
        values, scales = ("tensor" in weight_spec(mesh, one.axes, one.shape) for one in pair)
        if values != scales:
            raise InputError(
                "config.mesh.tensor",
                mesh.shape["tensor"],
                f"does not divide the {weight.shape[1]} blocks of {'/'.join(path[:-1])}; take config.adapter.base=auto "
                "or fewer devices along tensor",
            )


def check_rows_fit(config: TrainConfig, sizes: Mapping[str, int], *, padded: bool = False) -> None:
    """Refuses windows that do not divide over ``context``, and steps whose rows do not divide over devices and parts.

    Args:
      sizes: devices per mesh axis.
      padded: whether rows are padded to a number that divides.

    Raises:
      InputError: names the smallest change.
    """
    context, shares = sizes["context"], sizes["data"] * sizes["fsdp"]
    unit = 2 * context if context > 1 else 1
    parts = config.train.microbatches
    last = (0, config.data.window, config.data.batch_size)
    for number, (_, window, rows) in enumerate((*config.data.curriculum, last)):
        final = number == len(config.data.curriculum)
        if window % unit:
            following = -(-window // unit) * unit
            raise InputError(
                "config.data.window" if final else "config.data.curriculum",
                window,
                f"context={context} needs a multiple of {unit}; "
                + (f"set --config.data.window={following}" if final else f"take {following} tokens"),
            )
        if rows % (shares * parts) and not padded:
            following = -(-rows // (shares * parts)) * shares * parts
            raise InputError(
                "config.data.batch_size" if final else "config.data.curriculum",
                rows,
                f"data x fsdp = {shares} devices share the rows of {parts} microbatches; "
                + (f"set --config.data.batch_size={following}" if final else f"take {following} rows"),
            )
