"""The attention backends by name. A backend computes one hop: local queries against the keys that have arrived.

A backend is a module with ``UNIT`` (lengths are padded to multiples of it), ``BLOCK`` (tile edge in tokens, unless the
caller names one) and ``hops(scale, window, block, **options) -> Hops``. ``BACKENDS`` is the only list of them;
``context_attention`` and the training step take them by name.
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from polaris_jax.errors import InputError
from polaris_jax.ops.attention import SoftmaxState
from polaris_jax.ops.tiles import TokenMetadata

AUTO = "auto"
Options = Callable[[ModuleType, Mesh, int | None, str | None], dict[str, Any]]


class Hops(Protocol):
    """The hops of one call, with scale, window and block fixed. ``tile_xla.XlaHops`` is the plain one to read first.

    What is carried from hop to hop may have a layout of the backend's own: ``take``, ``queries``, ``prepare`` and
    ``dq`` go into it, ``finish``, ``dq`` and ``dkv`` come out of it.

    Attributes:
      token_axis: axis of the tokens in the gradient of keys and values as ``backward`` gives it.
    """

    @property
    def token_axis(self) -> int: ...

    def take(self, state: SoftmaxState) -> Any:
        """The state of queries that have seen no key, as ``forward`` wants it."""

    def queries(self, q: jax.Array) -> Any:
        """``q [B, H, S, D]`` as ``forward`` wants it, made once for all hops."""

    def forward(self, q: Any, kv: jax.Array, q_meta: TokenMetadata, kv_meta: TokenMetadata, state: Any) -> Any:
        """Adds the keys and values ``kv [2, B, G, S, D]`` to the state of the queries."""

    def finish(self, state: Any, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """``(out [B, H, S, D] dtype, lse [B, H, S] float32)`` of a state that ``forward`` gave."""

    def prepare(self, q: jax.Array, dout: jax.Array, lse: jax.Array, delta: jax.Array) -> Any:
        """What ``backward`` wants of the queries, made once for all hops; ``delta`` is ``sum(dout * out, -1)``."""

    def dq(self, dq: jax.Array) -> jax.Array:
        """``[B, H, S, D]`` to what ``backward`` adds to, or back."""

    def dkv(self, dkv: jax.Array) -> jax.Array:
        """What ``backward`` gave, as ``[2, B, G, S, D]``."""

    def backward(
        self, prepared: Any, kv: jax.Array, q_meta: TokenMetadata, kv_meta: TokenMetadata, dq: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """``(dq, dkv)``: the gradient of the queries added to, unscaled, and that of these keys and values."""


def _nothing(module: ModuleType, mesh: Mesh, block: int | None, chip: str | None) -> dict[str, Any]:
    return {}


def kernel_blocks(module: ModuleType, block: int | None) -> tuple[int, int] | None:
    """The blocks that a kernel is told to take if its caller names a tile edge; None: the kernel's own."""
    return None if block is None else (max(block, module.UNIT),) * 2


def _kernels(
    module: ModuleType, mesh: Mesh, block: int | None, chip: str | None, *, interpret: bool = False
) -> dict[str, Any]:
    return {
        "chip": chip or mesh.devices.flat[0].device_kind,
        "blocks": kernel_blocks(module, block),
        "interpret": interpret,
    }


@dataclass(frozen=True)
class AttentionBackend:
    """One row of ``BACKENDS``.

    Attributes:
      module: imported on first use, since Mosaic is not importable on every host.
      options: ``(module, mesh, block, chip)`` to the keywords of its ``hops``.
    """

    module: str
    options: Options = _nothing


BACKENDS: dict[str, AttentionBackend] = {
    "xla": AttentionBackend("polaris_jax.ops.tile_xla"),
    "pallas": AttentionBackend("polaris_jax.ops.tile_tpu", _kernels),
    "pallas_interpret": AttentionBackend("polaris_jax.ops.tile_tpu", functools.partial(_kernels, interpret=True)),
}


def open_backend(
    name: str, mesh: Mesh, block: int | None = None, chip: str | None = None
) -> tuple[ModuleType, dict[str, Any]]:
    """The backend's module, and its own options for this mesh.

    Args:
      name: key of ``BACKENDS``; ``auto`` is ``pallas`` on TPUs, attached or described by a topology, else ``xla``.

    Raises:
      InputError: there is none of that name.
    """
    if name == AUTO:
        name = "pallas" if mesh.devices.flat[0].platform == "tpu" else "xla"
    if name not in BACKENDS:
        raise InputError("implementation", name, f"choose {', '.join([AUTO, *BACKENDS])}")
    backend = BACKENDS[name]
    module = importlib.import_module(backend.module)
    return module, backend.options(module, mesh, block, chip)
