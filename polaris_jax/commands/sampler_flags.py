"""Flags of every verb that samples from a checkpoint: mesh, dtypes and speculation."""

import argparse
from collections.abc import Mapping
from typing import Any

from polaris_jax.commands.devices import host_devices
from polaris_jax.commands.flag_types import whole
from polaris_jax.errors import InputError
from polaris_jax.options import AT_LEAST_1, NOT_NEGATIVE

DTYPES = ("float32", "bfloat16")
_IN_TEXT = ("dtype", "cache_dtype", "weights", "speculate")  # options that may change a text


def add_sampler_flags(parser: argparse.ArgumentParser) -> None:
    """``--mesh``, ``--dtype``, ``--cache-dtype``, ``--weights`` and ``--speculate``; some have vLLM's name besides."""
    flags = parser.add_argument_group("devices and dtypes")
    flags.add_argument(
        "--mesh",
        metavar="AXIS=N,...",
        help="devices per axis of data, fsdp, context and tensor, one of them -1 for what is left "
        "(default: all devices of an accelerator, over tensor as far as the key heads divide, then "
        "over context; one device on a CPU)",
    )
    flags.add_argument(
        "--tensor-parallel-size", type=whole(AT_LEAST_1), metavar="N", help="the same as --mesh=tensor=N"
    )
    flags.add_argument("--devices", type=whole(AT_LEAST_1), help="host devices, when running on CPU")
    flags.add_argument("--dtype", choices=DTYPES, help="dtype of weights and arithmetic (default: as stored)")
    flags.add_argument(
        "--cache-dtype",
        "--kv-cache-dtype",
        dest="cache_dtype",
        choices=(*DTYPES, "int8"),
        help="dtype of cached keys and values (default: that of the weights)",
    )
    flags.add_argument(
        "--weights",
        choices=("int8", "nf4"),
        help="hold the layers' matrices in 8 bits, with a scale per column, or in 4, with one for every 64 numbers, "
        "quantised while they are read (default: in --dtype)",
    )
    flags.add_argument(
        "--speculate",
        type=whole(NOT_NEGATIVE),
        metavar="N",
        help="guess up to N tokens from the text itself and read them in one pass: the same text, sooner where it "
        "repeats itself (default 0: off; not for models with recurrent layers)",
    )


def sampler_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``checkpoint_sampler.open_sampler``; splits the CPU into ``--devices``.

    Raises:
      InputError: invalid ``--mesh``.
    """
    host_devices(arguments.devices)
    axes = None if arguments.mesh is None else _axes(arguments.mesh)
    if arguments.tensor_parallel_size is not None:
        if axes is not None:
            raise InputError("--tensor-parallel-size", arguments.tensor_parallel_size, "give it or --mesh, not both")
        axes = _axes(f"tensor={arguments.tensor_parallel_size}")
    return {
        "axes": axes,
        "dtype": arguments.dtype,
        "cache_dtype": arguments.cache_dtype,
        "weights": arguments.weights,
        "speculate": arguments.speculate or 0,
    }


def dtypes_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The part of ``sampler_options`` that may change a text (the mesh does not), as words for a run's identity."""
    return tuple(f"{name}={options[name]}" for name in _IN_TEXT if options.get(name))


def _axes(text: str) -> dict[str, int]:
    axes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.strip().partition("=")
        if not size.removeprefix("-").isdecimal() or int(size) == 0 or int(size) < -1 or name in axes:
            raise InputError("--mesh", text, "use AXIS=N,... such as tensor=4,context=-1")
        axes[name] = int(size)
    return axes
