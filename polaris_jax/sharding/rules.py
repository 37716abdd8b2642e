"""The one table from logical axis names to mesh axes.

Weights are spread over ``fsdp`` *and* ``context`` (ZeRO-3: each is gathered for its layer and dropped again). So a
long-context run with ``context=N`` holds 1/N of the parameters and of the optimizer state per device. Activations are
spread over ``(data, fsdp)`` along the batch and over ``context`` along the sequence.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

Entry = str | tuple[str, ...] | None  # entry of a ``PartitionSpec``: the mesh axes over which a dimension is spread

# Weights: ``embed`` is the model width; ``heads``, ``mlp`` and ``vocab`` are the tensor-parallel widths.
WEIGHT_RULES: dict[str | None, Entry] = {
    None: None,
    "layers": None,
    "embed": ("fsdp", "context"),
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "norm": None,
}

ACTIVATION_RULES: dict[str | None, Entry] = {
    None: None,
    "batch": ("data", "fsdp"),
    "sequence": "context",
    "embed": None,
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
}


def spec_axes(entry: Entry) -> tuple[str, ...]:
    """The mesh axes of a ``PartitionSpec`` entry, major first."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


class AxisSizes(Protocol):
    """A mesh, or any other object with the number of devices per axis."""

    @property
    def shape(self) -> Mapping[str, int]: ...


def axes_size(mesh: AxisSizes, axes: Entry) -> int:
    """The number of devices over which ``axes`` spread a dimension."""
    return math.prod(mesh.shape[axis] for axis in spec_axes(axes))


def weight_spec(mesh: AxisSizes, axes: Sequence[str | None], shape: Sequence[int]) -> P:
    """The ``PartitionSpec`` of a weight with logical ``axes`` and ``shape``.

    A dimension that its mesh axes do not divide stays whole on every device: still correct, but less spread out.
    """
    entries = []
    for name, dim in zip(axes, shape, strict=True):
        target = WEIGHT_RULES[name]
        size = axes_size(mesh, target)
        entries.append(target if size > 1 and dim % size == 0 else None)
    return P(*entries)


def weight_sharding(mesh: Mesh, axes: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
    """``weight_spec`` bound to its mesh."""
    return NamedSharding(mesh, weight_spec(mesh, axes, shape))


def activation_spec(axes: Sequence[str | None]) -> P:
    """The ``PartitionSpec`` of an activation, e.g. ``("batch", "sequence", "embed")``."""
    return P(*(ACTIVATION_RULES[name] for name in axes))
