"""Logical axis names → mesh axes, the one table.

Weights are spread over ``fsdp`` *and* ``context`` (ZeRO-3: each is gathered for its layer and dropped again), so a
long-context run with ``context=N`` holds 1/N of the parameters and of the optimizer state per device. Activations
are spread over ``(data, fsdp)`` along the batch and over ``context`` along the sequence.
"""

from collections.abc import Sequence

from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Weights: ``embed`` is the model width; ``heads``, ``mlp`` and ``vocab`` are the tensor-parallel widths.
WEIGHT_RULES: dict[str | None, str | tuple[str, ...] | None] = {
    None: None,
    "layers": None,
    "embed": ("fsdp", "context"),
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "norm": None,
}

ACTIVATION_RULES: dict[str | None, str | tuple[str, ...] | None] = {
    None: None,
    "batch": ("data", "fsdp"),
    "sequence": "context",
    "embed": None,
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
}


def _size(mesh: Mesh, axes: str | tuple[str, ...] | None) -> int:
    size = 1
    for axis in (axes,) if isinstance(axes, str) else (axes or ()):
        size *= mesh.shape[axis]
    return size


def weight_spec(mesh: Mesh, axes: Sequence[str | None], shape: Sequence[int]) -> P:
    """The ``PartitionSpec`` of a weight with logical ``axes`` and ``shape``.

    A dimension that its mesh axes do not divide is left whole on every device: correct, only less spread out.
    """
    entries = []
    for name, dim in zip(axes, shape, strict=True):
        target = WEIGHT_RULES[name]
        size = _size(mesh, target)
        entries.append(target if size > 1 and dim % size == 0 else None)
    return P(*entries)


def weight_sharding(mesh: Mesh, axes: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
    """``weight_spec`` bound to its mesh."""
    return NamedSharding(mesh, weight_spec(mesh, axes, shape))


def activation_spec(axes: Sequence[str | None]) -> P:
    """The ``PartitionSpec`` of an activation, e.g. ``("batch", "sequence", "embed")``."""
    return P(*(ACTIVATION_RULES[name] for name in axes))
