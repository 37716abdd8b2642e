"""Several LoRA adapters beside one base model: every text of a batch is read by its own adapter, or by none.

The base stays as it is, once, in whatever form (``ops.quantized`` too). A matrix that any adapter has a term for
becomes an ``ops.linear.Adapted``: the factors of all adapters in two stacks, in the order in which the adapters were
given, with zeros in front (no adapter), for adapters without a term there, and after the factors of a smaller rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from jax.typing import DTypeLike

from polaris_jax.errors import InputError
from polaris_jax.models.adapters import ADAPTER, ADAPTER_CONFIG, HEAD, Adapter, factor_rank, read_adapter
from polaris_jax.models.checkpoint import read_json
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import open_folder
from polaris_jax.models.lora import A, B, is_matrix
from polaris_jax.models.weights import Params, Path, Table, Weight, weight_table
from polaris_jax.ops.linear import Adapted
from polaris_jax.sharding import weight_sharding


def open_adapter_for(config: ModelConfig, field: str, address: str) -> Adapter:
    """A PEFT folder whose terms fit the layers' matrices of a model, no values read yet.

    Args:
      field: what the caller calls the address, in errors. address: a local folder, gs://, or hf://.

    Raises:
      InputError: no such adapter, another kind than plain LoRA, one that trains more than the layers' matrices, or one
        of another model.
    """
    folder = open_folder(address)
    if not folder.exists(ADAPTER_CONFIG) or not folder.exists(ADAPTER):
        advice = f"has no {ADAPTER_CONFIG} and {ADAPTER}; give a folder as PEFT writes it (polaris convert --to=peft)"
        raise InputError(field, address, advice)
    adapter = read_adapter(folder, read_json(folder, ADAPTER_CONFIG))
    shapes: dict[str, tuple[int, ...]] = {}
    others = {HEAD}
    for path, weight in weight_table(config).items():
        names = [name for name, _ in weight.hf_tensors()]
        if is_matrix(path, weight):
            shapes |= dict.fromkeys(names, weight.hf_shape)
        else:
            others |= {*names}
    beyond = [*adapter.whole, *(name for name, _ in adapter.factors if name in others)]
    if beyond:
        raise InputError(field, address, f"trains {beyond[0]} too; merge it with polaris convert, and serve the result")
    if not adapter.factors:
        raise InputError(field, address, "has no terms for any matrix")
    for (name, _), pair in adapter.factors.items():
        factor_rank(adapter, name, pair, shapes.get(name))
    return adapter


def bank_table(config: ModelConfig, ranks: Mapping[Path, int], adapters: int) -> Table:
    """The rows of the stacks: ``(..., "q", "lora_a") [layers, adapters + 1, r, in]``, and ``lora_b`` with ``out``.

    Args:
      ranks: of the matrices that have terms, by path.
    """
    table, found = weight_table(config), {}
    for path, rank in ranks.items():
        weight = table[path]
        layers, width, out = weight.shape
        stack, rows, columns = weight.axes
        for part, size, axis in ((A, width, rows), (B, out, columns)):
            shape, axes = (layers, adapters + 1, rank, size), (stack, None, None, axis)
            found[*path, part] = replace(weight, shape=shape, axes=axes, transpose=False, heads=())
    return found


def add_adapters(
    params: Params, config: ModelConfig, adapters: Sequence[Adapter], dtype: DTypeLike, mesh: Mesh | None = None
) -> Params:
    """The stacked parameters, with an ``Adapted`` for each matrix that one of ``adapters`` has a term for.

    Args:
      adapters: of ``open_adapter_for``. dtype: of the factors, which are multiplied and rounded when they are read.
    """
    table = weight_table(config)
    ranks = {path: rank for path, weight in table.items() if (rank := _largest_rank(weight, adapters))}
    rows = bank_table(config, ranks, len(adapters))
    bank: dict[Path, jax.Array] = {}
    for path in ranks:
        stacks = {part: np.zeros(rows[*path, part].shape, jnp.dtype(dtype)) for part in (A, B)}
        for number, adapter in enumerate(adapters, start=1):
            _fill(stacks, table[path], number, adapter)
        bank |= {(*path, part): _placed(stack, rows[*path, part], mesh) for part, stack in stacks.items()}
    return with_bank(params, bank)


def with_bank(params: Params, bank: Mapping[Path, jax.Array]) -> Params:
    """The parameters with an ``Adapted`` for each matrix that ``bank``, arrays of ``bank_table``, has stacks for."""
    flat = flatten_dict(params)
    for path in {path[:-1] for path in bank}:
        flat[path] = Adapted(flat[path], bank[*path, A], bank[*path, B])
    return unflatten_dict(flat)


def _largest_rank(weight: Weight, adapters: Sequence[Adapter]) -> int:
    """Of all terms of a stacked weight; 0: it has none."""
    pairs = [adapter.factors.get((name, False)) for adapter in adapters for name, _ in weight.hf_tensors()]
    return max((pair["A"].shape[0] for pair in pairs if pair), default=0)


def _fill(stacks: Mapping[str, np.ndarray], weight: Weight, number: int, adapter: Adapter) -> None:
    """Writes the factors of one adapter into the stacks of a weight; its scale goes into ``lora_b``."""
    for name, layer in weight.hf_tensors():
        if pair := adapter.factors.get((name, False)):
            rank = pair["A"].shape[0]
            stacks[A][layer, number, :rank] = pair["A"].read()
            scaled = np.float32(adapter.scale(name, rank)) * pair["B"].read().astype(np.float32)
            stacks[B][layer, number, :rank] = scaled.T


def _placed(values: np.ndarray, row: Weight, mesh: Mesh | None) -> jax.Array:
    if mesh is None:
        return jnp.asarray(values)
    sharding = weight_sharding(mesh, row.axes, row.shape)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
