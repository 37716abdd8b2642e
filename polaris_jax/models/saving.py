"""``Decoder`` → Hugging Face folder that ``transformers`` loads, bit for bit what the parameters hold."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path as LocalPath
from typing import Any

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict
from jax.sharding import NamedSharding, PartitionSpec

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import Decoder
from polaris_jax.models.safetensors_file import DTYPES, write_file
from polaris_jax.models.weights import Params, Weight, weight_table

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)


def save_pretrained(model: Decoder, path: Any, *, shard_bytes: int = 5 * 10**9, tokenizer_from: Any = None) -> None:
    """Writes ``config.json``, safetensors shards and their index.

    A new local folder appears whole, by a rename; in an existing one every file is replaced whole, weights before the
    index and config that point at them. In an object store ``config.json`` is written last. With several processes
    all must call this; the first one writes.

    Args:
      model: the model; padding rows of the vocabulary are not written.
      path: local folder or ``gs://`` prefix.
      shard_bytes: a shard ends before it would exceed this many bytes.
      tokenizer_from: folder whose tokenizer and generation files are copied along.

    Raises:
      InputError: ``path`` is a file, or a parameter's dtype has no place in the format.
    """
    destination = epath.Path(path)
    if destination.exists() and not destination.is_dir():
        raise InputError("path", str(path), "is a file; give a folder")
    tensors = hf_tensors(model.params, model.config)
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES.values():
            raise InputError(name, str(tensor.dtype), "only float32, bfloat16 and float16 parameters can be saved")
    if jax.process_index() != 0:
        for tensor in tensors.values():
            tensor.read()  # takes part in gathering each tensor, in the writer's order
        return
    if "://" in str(destination):
        destination.mkdir(parents=True, exist_ok=True)
        _write(model, destination, tensors, shard_bytes, tokenizer_from)
        return
    final = LocalPath(destination)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = LocalPath(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        partial.chmod(0o755)
        written = _write(model, epath.Path(partial), tensors, shard_bytes, tokenizer_from)
        if final.exists():
            for file in written:
                os.replace(partial / file, final / file)
            for stale in set(final.glob("model*.safetensors*")) - {final / file for file in written}:
                stale.unlink()
        else:
            partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class HFTensor:
    """One tensor as Hugging Face names and orients it: shape, dtype, and ``read`` to fetch its values."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def hf_tensors(params: Params, config: ModelConfig) -> dict[str, HFTensor]:
    """A parameter-shaped tree (weights, or their gradients) as Hugging Face tensors by name, nothing fetched yet."""
    flat = flatten_dict(params)
    tensors = {}
    for path, weight in weight_table(replace(config, vocab_rows=0)).items():
        for name, index in weight.hf_tensors():
            read = partial(_fetch, flat[path], index, weight)
            tensors[name] = HFTensor(weight.hf_shape, np.dtype(flat[path].dtype), read)
    return tensors


def _fetch(array: jax.Array, index: int | None, weight: Weight) -> np.ndarray:
    one = array if index is None else array[index]
    if isinstance(one.sharding, NamedSharding) and not one.is_fully_addressable:
        one = jax.jit(lambda x: x, out_shardings=NamedSharding(one.sharding.mesh, PartitionSpec()))(one)
    values = np.asarray(one)
    values = values.T if weight.transpose else values
    return values[tuple(slice(size) for size in weight.hf_shape)]  # without the padding of the vocabulary


def _write(
    model: Decoder, folder: epath.Path, tensors: dict[str, HFTensor], shard_bytes: int, tokenizer_from: Any
) -> list[str]:
    """Writes all files into ``folder``; returns their names in the order in which they should appear."""
    shards: list[dict[str, HFTensor]] = [{}]
    for name, tensor in tensors.items():
        if shards[-1] and sum(other.bytes for other in shards[-1].values()) + tensor.bytes > shard_bytes:
            shards.append({})
        shards[-1][name] = tensor
    where, written = {}, []
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        layout = {name: (tensor.shape, tensor.dtype) for name, tensor in shard.items()}
        where |= dict.fromkeys(write_file(folder / file, layout, lambda name, shard=shard: shard[name].read()), file)
        written.append(file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(tensor.bytes for tensor in tensors.values())}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        written.append("model.safetensors.index.json")
    for name in TOKENIZER_FILES if tokenizer_from is not None else ():
        source = epath.Path(tokenizer_from) / name
        if source.exists():
            source.copy(folder / name, overwrite=True)
            written.append(name)
    dtype = np.dtype(model.params["embed"]["embedding"].dtype).name
    (folder / "config.json").write_text(json.dumps(model.config.to_hf() | {"dtype": dtype}, indent=2) + "\n")
    return [*written, "config.json"]
