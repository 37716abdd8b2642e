"""``Decoder`` → Hugging Face folder that ``transformers`` loads, bit for bit what the parameters hold."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from polaris_jax.errors import InputError
from polaris_jax.models.checkpoint import INDEX, SINGLE, read_json
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.export_files import export_files, read_export_files
from polaris_jax.models.folder import BucketFolder, LocalFolder, open_folder
from polaris_jax.models.module import Decoder
from polaris_jax.models.progress import progress
from polaris_jax.models.safetensors_file import DTYPES, write_file
from polaris_jax.models.tensors import HFTensor, index_bounds, pieces
from polaris_jax.models.weights import Params, Table, Weight, weight_table
from polaris_jax.storage import is_remote

LOCAL_SHARD, BUCKET_SHARD = 5 * 10**9, 10**9  # an object of a bucket is put from memory


def save_pretrained(model: Decoder, path: Any, *, shard_bytes: int | None = None, tokenizer_from: Any = None) -> None:
    """Writes ``config.json``, safetensors shards and their index.

    Args:
      model: the model; padding rows of the vocabulary are not written.
      path, shard_bytes, tokenizer_from: as in ``write_checkpoint``.

    Raises:
      InputError: ``path`` is a file, or a parameter's dtype has no place in the format.
    """
    write_checkpoint(
        hf_tensors(model.params, model.config),
        model.config,
        path,
        shard_bytes=shard_bytes,
        tokenizer_from=tokenizer_from,
    )


def write_checkpoint(
    tensors: Mapping[str, HFTensor],
    config: ModelConfig,
    path: Any,
    *,
    shard_bytes: int | None = None,
    tokenizer_from: Any = None,
) -> None:
    """Writes a Hugging Face folder, a few rows at a time, wherever the tensors come from.

    A new local folder appears whole, by a rename; in an existing one every file is replaced whole, weights before the
    index and config that point at them. In a bucket ``config.json`` is written last. With several processes all must
    call this; the first process writes.

    Args:
      path: local folder or ``gs://`` prefix.
      shard_bytes: a shard ends before it would exceed this many bytes; default 5 GB on a disk, 1 GB in a bucket.
      tokenizer_from: folder whose tokenizer and generation settings go along, or these files by name.

    Raises:
      InputError: ``path`` is a file, or a tensor's dtype has no place in the format.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES.values():
            raise InputError(name, str(tensor.dtype), "only float32, bfloat16 and float16 parameters can be saved")
    if jax.process_index() != 0:
        for tensor in tensors.values():
            for _ in pieces(tensor):  # takes part in gathering each tensor, in the writer's order
                pass
        return
    earlier = _weight_files(open_folder(path))
    shards = _shards(tensors, shard_bytes or (BUCKET_SHARD if is_remote(path) else LOCAL_SHARD))
    with atomic_folder(path) as folder:
        where: dict[str, str] = {}
        total = sum(tensor.bytes for tensor in tensors.values())
        with progress("saving", total) as advance:
            for number, shard in enumerate(shards, 1):
                file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
                write_file(folder, file, shard, advance)
                where |= dict.fromkeys(shard, file)
        if len(shards) > 1:
            write_json(folder, INDEX, {"metadata": {"total_size": total}, "weight_map": where})
        write_config(folder, config, tensors["model.embed_tokens.weight"].dtype, tokenizer_from)
    for stale in earlier - {*where.values(), *([INDEX] if len(shards) > 1 else [])}:
        open_folder(path).delete(stale)


def write_config(folder: LocalFolder | BucketFolder, config: ModelConfig, dtype: np.dtype, tokenizer_from: Any) -> None:
    """Writes what stands beside the weights (``export_files``); ``config.json``, which completes a folder, last.

    Args:
      tokenizer_from: a folder, or the files by name.
    """
    source = tokenizer_from if isinstance(tokenizer_from, Mapping) else {}
    if tokenizer_from is not None and not isinstance(tokenizer_from, Mapping):
        source = read_export_files(open_folder(tokenizer_from))
    for name, content in export_files(config, dtype, source).items():
        folder.write(name, [content])


def write_json(folder: LocalFolder | BucketFolder, name: str, value: dict[str, Any]) -> None:
    """Writes a JSON object."""
    folder.write(name, [(json.dumps(value, indent=2) + "\n").encode()])


def atomic_folder(path: Any) -> AbstractContextManager[LocalFolder | BucketFolder]:
    """``atomic_local_folder``, or the folder itself in a bucket."""
    return nullcontext(open_folder(path)) if is_remote(path) else atomic_local_folder(path)


@contextmanager
def atomic_local_folder(path: Any) -> Iterator[LocalFolder]:
    """A folder to write into that replaces ``path`` when the block ends without an error; else it is deleted.

    Raises:
      InputError: ``path`` is a file.
    """
    final = Path(path)
    if final.exists() and not final.is_dir():
        raise InputError("path", str(path), "is a file; give a folder")
    final.parent.mkdir(parents=True, exist_ok=True)
    partial_copy = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        partial_copy.chmod(0o755)
        yield LocalFolder(partial_copy)
        if final.exists():
            # In the order in which they were written: files that name other files come last.
            for item in sorted(partial_copy.iterdir(), key=lambda item: item.stat().st_mtime_ns):
                if item.is_dir():
                    shutil.rmtree(final / item.name, ignore_errors=True)
                item.replace(final / item.name)
        else:
            partial_copy.rename(final)
    finally:
        shutil.rmtree(partial_copy, ignore_errors=True)


def _shards(tensors: Mapping[str, HFTensor], most: int) -> list[dict[str, HFTensor]]:
    shards: list[dict[str, HFTensor]] = [{}]
    for name, tensor in tensors.items():
        if shards[-1] and sum(other.bytes for other in shards[-1].values()) + tensor.bytes > most:
            shards.append({})
        shards[-1][name] = tensor
    return shards


def _weight_files(folder: LocalFolder | BucketFolder) -> set[str]:
    """Weight files of an earlier, perhaps differently sharded save."""
    found = {SINGLE} if folder.exists(SINGLE) else set()
    if folder.exists(INDEX):
        found |= {INDEX, *read_json(folder, INDEX).get("weight_map", {}).values()}
    return found


def hf_tensors(params: Params, config: ModelConfig) -> dict[str, HFTensor]:
    """A parameter-shaped tree (weights, or their gradients) as Hugging Face tensors by name, no values fetched yet."""
    return table_tensors(params, weight_table(replace(config, vocab_rows=0)))


def table_tensors(params: Params, table: Table) -> dict[str, HFTensor]:
    """``hf_tensors`` of the tree of any table of weights."""
    flat = flatten_dict(params)
    tensors = {}
    for path, weight in table.items():
        for name, index in weight.hf_tensors():
            rows = partial(_fetch, flat[path], index, weight)
            tensors[name] = HFTensor(weight.hf_shape, np.dtype(flat[path].dtype), rows)
    return tensors


def _fetch(array: jax.Array, layer: int | None, weight: Weight, start: int, stop: int) -> np.ndarray:
    """Rows ``start:stop`` of one HF tensor, assembled on the host from the shards that hold them."""
    axis = array.ndim - 1 if weight.transpose else int(layer is not None)
    parts: Iterable[Any]
    if array.is_fully_addressable:
        parts = {index_bounds(shard.index): shard for shard in array.addressable_shards}.values()
    else:
        assert isinstance(array.sharding, NamedSharding)  # arrays of several processes live on a mesh
        array = _gathered(array.sharding.mesh, layer is not None)(array, layer or 0)
        parts, layer = array.addressable_shards[:1], None if layer is None else 0
    shape = [size if i != axis else stop - start for i, size in enumerate(array.shape)]
    if layer is not None:
        shape[0] = 1
    whole = None
    for part in parts:
        first = part.index[axis].start or 0
        low, high = max(start, first), min(stop, first + part.data.shape[axis])
        if low >= high:
            continue
        at, sizes = [0] * array.ndim, list(part.data.shape)
        at[axis], sizes[axis] = low - first, high - low
        if layer is not None:
            at[0], sizes[0] = layer, 1
        values = np.asarray(_cut(part.data, np.asarray(at, np.int32), tuple(sizes)))
        if values.size == np.prod(shape):
            whole = values  # the usual case: one device holds all the rows
            break
        where = list(part.index)
        where[axis] = slice(low - start, high - start)
        if layer is not None:
            where[0] = slice(0, 1)
        whole = np.empty(shape, values.dtype) if whole is None else whole
        whole[tuple(where)] = values
    assert whole is not None  # the shards of an array cover it
    one = whole if layer is None else whole[0]
    return one.T if weight.transpose else one


@partial(jax.jit, static_argnums=2)
def _cut(array: jax.Array, at: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    return jax.lax.dynamic_slice(array, list(at), sizes)


@lru_cache
def _gathered(mesh: Mesh, stacked: bool) -> Callable[..., jax.Array]:
    """A jitted ``(array, layer) -> that layer on every device``, for arrays of which a process holds a part only."""

    def take(array: jax.Array, layer: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(array, layer, 1, 0) if stacked else array

    return jax.jit(take, out_shardings=NamedSharding(mesh, PartitionSpec()))
