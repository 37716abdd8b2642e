"""A checkpoint folder → ``Decoder``: tensors are streamed, a few rows at a time, to the devices that hold the weight.

Every device receives exactly the rows and columns of its own part of every weight. Host memory holds a few pieces of
``tensors.PIECE_BYTES``, whatever the size of the tensor.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import open_folder
from polaris_jax.models.lora import Held, SplitTable, held_table, quantized_tensors
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.models.module import Decoder
from polaris_jax.models.orbax_folder import open_model
from polaris_jax.models.progress import progress
from polaris_jax.models.tensors import HFTensor, contiguous, index_bounds, read_ahead, row_runs
from polaris_jax.models.weights import Params, Table, Weight, weight_table
from polaris_jax.sharding import weight_spec

Index = tuple[slice, ...]


def from_pretrained(path: Any, *, dtype: Any = None, mesh: Mesh | None = None, vocab_multiple: int = 1) -> Decoder:
    """Loads a model from a Hugging Face folder, or from an Orbax folder that ``polaris convert`` wrote.

    Args:
      path: local folder or ``gs://`` prefix with ``config.json`` and safetensors; ``hf://user/name`` on the Hub; the
        folder of a LoRA adapter, which is merged into its base model; or a local Orbax folder.
      dtype: dtype of the parameters; default: as stored. Weights that must be float32 (the delta rule's decay and norm)
        then stay float32.
      mesh: mesh to spread the weights over (``sharding.rules``); default: one device.
      vocab_multiple: pads embedding and head with zero rows to a multiple of this, so that an odd vocabulary can be
        spread over a mesh axis. Logits, and the file when saved again, are unaffected.

    Returns:
      The model. No copy in another dtype is made on the way. Beyond the weights where they live, host memory holds a
      few pieces of 32 MiB.

    Raises:
      InputError: no such folder, an unsupported config, or tensors that are missing, unknown or of another shape.
    """
    found = find_model_folder(path, "checkpoint")
    if found.run is not None:
        raise InputError("checkpoint", str(path), "is a training run; export it with polaris convert")
    config, stored = open_model(open_folder(found.weights), found.hf_config)
    rows = -(-config.vocab_size // vocab_multiple) * vocab_multiple
    config = replace(config, vocab_rows=rows if rows > config.vocab_size else 0)
    return Decoder(config, load_tensors(weight_table(config), stored, dtype, mesh))


def load_held(config: ModelConfig, stored: Mapping[str, HFTensor], dtype: Any, mesh: Mesh | None, held: Held) -> Params:
    """The parameter tree of a model that does not learn, from Hugging Face tensors.

    Args:
      dtype, mesh: as for ``from_pretrained``.
      held: ``int8`` and ``nf4``: every matrix of the layers is an ``ops.quantized.Quantized``, made run of rows by run
        of rows as it is read.
    """
    table = held_table(config, held)
    return SplitTable({}, table).join({}, load_tensors(table, quantized_tensors(stored, table, held), dtype, mesh))


def load_tensors(table: Table, stored: Mapping[str, HFTensor], dtype: Any, mesh: Mesh | None) -> Params:
    """The tree of ``table`` from Hugging Face tensors, streamed to where each weight lives."""
    flat = {}
    with progress("loading", sum(stored[name].bytes for w in table.values() for name, _ in w.hf_tensors())) as advance:
        for path, weight in table.items():
            flat[path] = load_weight(weight, stored, dtype, mesh, advance)
    return unflatten_dict(flat)


def load_table(path: Any, table: Table, *, dtype: Any, mesh: Mesh | None, held: Held = "auto") -> Params:
    """Some of the weights of the model at ``path``, as a tree.

    Args:
      table: which, from ``lora.split_table``. dtype, mesh: as for ``from_pretrained``.
      held: how the quantised ones among them are quantised.

    Raises:
      InputError: as ``from_pretrained``.
    """
    if not table:
        return {}
    found = find_model_folder(path, "config.model.path")
    if found.run is not None:
        raise InputError("config.model.path", str(path), "is a training run; export it with polaris convert")
    _, stored = open_model(open_folder(found.weights), found.hf_config)
    return load_tensors(table, quantized_tensors(stored, table, held), dtype, mesh)


def load_weight(
    weight: Weight, stored: Mapping[str, HFTensor], dtype: Any, mesh: Mesh | None, advance: Callable[[int], None]
) -> jax.Array:
    """One weight of the tree, filled piece by piece in place on the devices."""
    tensors = [(stored[name], index or 0) for name, index in weight.hf_tensors()]
    if dtype is None:
        dtype = jnp.result_type(*{tensor.dtype for tensor, _ in tensors})
    elif weight.float32 or weight.whole_numbers:
        dtype = weight.whole_numbers or jnp.float32
    layout = _Layout.of(weight, mesh)
    devices: Any = layout.whole.device_set
    on_host = all(device.platform == "cpu" for device in devices)
    destination = (InHostMemory if on_host else OnDevices)(weight.shape, np.dtype(dtype), layout)
    for tensor, layer in tensors:
        runs = row_runs(layout.slab_rows, tensor.bytes // tensor.shape[0] * layout.slabs)
        most = runs[0][1]
        # All runs have one length, so that one program places them; the last may repeat rows of the one before.
        destination.fill(tensor, layer, [(min(start, layout.slab_rows - most), most) for start, _ in runs])
        advance(tensor.bytes)
    return destination.array()


@dataclass(frozen=True)
class _Layout:
    """How one HF tensor is cut over the devices, along its first axis in equal slabs and perhaps along its second.

    Attributes:
      whole: sharding of the stacked weight; one: of a single HF tensor, in the orientation of the weight.
      cut: axis of the weight that is the HF tensor's first.
      slabs, slab_rows: slabs of the first axis, and rows of each (with the padding of the vocabulary).
      stacked, transpose: whether the weight has a leading layer axis; whether its axes are reversed.
    """

    whole: Sharding
    one: Sharding
    cut: int
    slabs: int
    slab_rows: int
    stacked: bool
    transpose: bool

    @classmethod
    def of(cls, weight: Weight, mesh: Mesh | None) -> "_Layout":
        stacked = weight.layers is not None
        cut = len(weight.shape) - 1 if weight.transpose else int(stacked)
        whole: Sharding
        one: Sharding
        if mesh is None:
            whole = one = SingleDeviceSharding(jax.devices()[0])
            slabs = 1
        else:
            spec = weight_spec(mesh, weight.axes, weight.shape)
            whole, one = NamedSharding(mesh, spec), NamedSharding(mesh, P(*tuple(spec)[int(stacked) :]))
            slabs = weight.shape[cut] // whole.shard_shape(weight.shape)[cut]
        return cls(whole, one, cut, slabs, weight.shape[cut] // slabs, stacked, weight.transpose)

    @property
    def axis(self) -> int:
        """``cut`` of a single tensor, without the layer axis."""
        return self.cut - int(self.stacked)

    def piece_shape(self, rows_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of some rows ``[rows, ...]`` of every slab, in the orientation of the weight."""
        shape = (self.slabs * rows_shape[0], *rows_shape[1:])
        return shape[::-1] if self.transpose else shape

    def read(self, tensor: HFTensor, start: int, rows: int) -> dict[int, np.ndarray]:
        """Rows ``start : start + rows`` of every slab that this process holds; padding rows are zeros."""
        shape = self.piece_shape((rows, *tensor.shape[1:]))
        indices = _device_indices(self.one, shape).values()
        slabs = {}
        for slab in {(index[self.axis].start or 0) // rows for index in indices}:
            first = min(slab * self.slab_rows + start, tensor.shape[0])
            found = tensor.rows(first, min(first + rows, tensor.shape[0]))
            lacking = rows - len(found)
            slabs[slab] = np.pad(found, [(0, lacking)] + [(0, 0)] * (found.ndim - 1)) if lacking else found
        return slabs

    def part(self, slabs: dict[int, np.ndarray], slab: int, index: Index) -> np.ndarray:
        """One device's part of the piece, oriented like the weight; ``index`` selects along the other axes."""
        rest = tuple(slice(None) if i == self.axis else where for i, where in enumerate(index))
        values = slabs[slab]
        return (values.T if self.transpose else values)[rest]


class OnDevices:
    """A weight being filled on accelerators: each device writes its part of a piece into its part of the weight."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, layout: _Layout):
        self._layout, self._array = layout, jnp.zeros(shape, dtype, device=layout.whole)

    def fill(self, tensor: HFTensor, layer: int, runs: list[tuple[int, int]]) -> None:
        """Writes one HF tensor; ``runs`` are ``(first row, rows)`` of every slab."""
        slabs = read_ahead(partial(self._layout.read, tensor), runs)
        for row, _ in runs:
            self._put(next(slabs), layer, row)

    def _put(self, slabs: dict[int, np.ndarray], layer: int, row: int) -> None:
        layout = self._layout
        rows_shape = next(iter(slabs.values())).shape

        def part(index: Index | None) -> np.ndarray:
            assert index is not None  # only addressable devices are asked for
            return layout.part(slabs, (index[layout.axis].start or 0) // rows_shape[0], index)

        piece = jax.make_array_from_callback(layout.piece_shape(rows_shape), layout.one, part)
        self._array = _placing(layout)(self._array, piece, layer, row)
        jax.block_until_ready(self._array)  # else pieces would accumulate in host memory

    def array(self) -> jax.Array:
        """The finished weight."""
        return self._array


class InHostMemory:
    """A weight being filled where it stays, when the host is the device.

    XLA's CPU compiler would widen a whole 16-bit array to move a slice of it. A buffer aligned like XLA's own becomes a
    ``jax.Array`` without a copy.
    """

    _ALIGNMENT = 64

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, layout: _Layout):
        self._shape, self._layout = shape, layout
        self._indices = _device_indices(layout.whole, shape)
        self._parts: dict[tuple, np.ndarray] = {}
        for index in self._indices.values():
            size = [len(range(*where.indices(whole))) for where, whole in zip(index, shape, strict=True)]
            self._parts.setdefault(index_bounds(index), self._aligned(size, dtype))

    def _aligned(self, shape: list[int], dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        raw = np.empty(size + self._ALIGNMENT, np.uint8)
        first = -raw.ctypes.data % self._ALIGNMENT
        return raw[first : first + size].view(dtype).reshape(shape)

    def fill(self, tensor: HFTensor, layer: int, runs: list[tuple[int, int]]) -> None:
        """As ``OnDevices.fill``."""
        for _ in read_ahead(partial(self._put, tensor, layer), runs):
            pass

    def _put(self, tensor: HFTensor, layer: int, row: int, rows: int) -> None:
        layout = self._layout
        slabs = layout.read(tensor, row, rows)
        for index, part in {index_bounds(index): index for index in self._indices.values()}.items():
            slab = (part[layout.cut].start or 0) // layout.slab_rows
            values = contiguous(layout.part(slabs, slab, part[int(layout.stacked) :]))
            into = self._parts[index][layer] if layout.stacked else self._parts[index]
            into[(slice(None),) * layout.axis + (slice(row, row + rows),)] = values

    def array(self) -> jax.Array:
        """The finished weight."""
        parts = [
            jax.device_put(self._parts[index_bounds(index)], device, may_alias=True)
            for device, index in self._indices.items()
        ]
        return jax.make_array_from_single_device_arrays(self._shape, self._layout.whole, parts)


def _device_indices(sharding: Sharding, shape: tuple[int, ...]) -> dict[Any, Index]:
    """The part of an array of ``shape`` that each device of this process holds."""
    found = sharding.addressable_devices_indices_map(shape)
    return {device: index for device, index in found.items() if index is not None}


@lru_cache
def _placing(layout: _Layout) -> Callable[..., jax.Array]:
    """A jitted ``(array, piece, layer, row) -> array`` that updates the donated ``array`` in place on each device."""

    def place(array: jax.Array, piece: jax.Array, layer: jax.Array, row: jax.Array) -> jax.Array:
        at: list[jax.Array | int] = [0] * array.ndim
        at[layout.cut] = row
        if layout.stacked:
            at[0], piece = layer, piece[None]
        return jax.lax.dynamic_update_slice(array, piece.astype(array.dtype), at)

    if isinstance(layout.whole, NamedSharding) and isinstance(layout.one, NamedSharding):
        place = jax.shard_map(
            place,
            mesh=layout.whole.mesh,
            in_specs=(layout.whole.spec, layout.one.spec, P(), P()),
            out_specs=layout.whole.spec,
        )
    return jax.jit(place, donate_argnums=0)
