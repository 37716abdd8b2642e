"""An Orbax checkpoint of the parameter tree, read and written a few rows at a time.

A folder that ``polaris convert`` writes holds ``config.json``, the tokenizer, and ``params/``: an Orbax checkpoint that
``orbax.checkpoint.StandardCheckpointer`` restores into the tree of ``weights.abstract_params``. Orbax itself saves and
restores whole arrays, and each array here is a whole stack of layers; so the arrays (Zarr inside OCDBT) are written
and read through TensorStore directly, in pieces, and Orbax's own metadata is written beside them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
import tensorstore as ts

from polaris_jax.errors import InputError
from polaris_jax.models.adapters import ADAPTER_CONFIG, base_address, merge_adapter, read_adapter
from polaris_jax.models.checkpoint import has_weights, read_checkpoint, read_json
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import BucketFolder, LocalFolder, open_folder
from polaris_jax.models.progress import progress
from polaris_jax.models.saving import atomic_local_folder, write_config, write_json
from polaris_jax.models.tensors import HFTensor, contiguous, read_ahead, row_runs
from polaris_jax.models.weights import Path as TreePath
from polaris_jax.models.weights import Table, Weight, weight_table
from polaris_jax.storage import is_remote, kvstore, not_written

PARAMS = "params"
_METADATA, _COMPLETE = "_METADATA", "_CHECKPOINT_METADATA"
_DICT_KEY = 2  # Orbax's code for a key of a dictionary


def is_orbax(folder: LocalFolder | BucketFolder) -> TypeGuard[LocalFolder]:
    """Whether the folder holds ``config.json`` and an Orbax checkpoint of the parameters."""
    return isinstance(folder, LocalFolder) and (folder.path / PARAMS / _METADATA).is_file()


def read_orbax(checkpoint: Path | str, config: ModelConfig) -> dict[str, HFTensor]:
    """The arrays of an Orbax checkpoint of ``config``'s parameter tree as Hugging Face tensors, no values read yet.

    Args:
      checkpoint: the folder of the arrays, local or gs://: ``params`` of a converted folder, or of a step of a run.

    Raises:
      InputError: no such checkpoint, or arrays that do not fit the config.
    """
    return read_orbax_table(checkpoint, weight_table(replace(config, vocab_rows=0)))


def read_orbax_table(checkpoint: Path | str, table: Table) -> dict[str, HFTensor]:
    """``read_orbax`` of the tree of any table of weights.

    Raises:
      InputError: no such checkpoint, or arrays that do not fit the table.
    """
    tensors, wrong = {}, []
    for path, weight in table.items():
        name = ".".join(path)
        try:
            array = ts.open(_spec(checkpoint, name), read=True).result()
        except ValueError:
            wrong.append(f"{name} missing")
            continue
        if array.rank != len(weight.shape) or any(a < b for a, b in zip(array.shape, weight.shape, strict=True)):
            wrong.append(f"{name} {list(array.shape)} instead of {list(weight.shape)}")
            continue
        for hf_name, layer in weight.hf_tensors():
            tensors[hf_name] = HFTensor(weight.hf_shape, array.dtype.numpy_dtype, partial(_rows, array, layer, weight))
    if wrong:
        raise InputError("checkpoint", str(checkpoint), f"does not fit its config.json: {', '.join(wrong)}")
    return tensors


def _rows(array: ts.TensorStore, layer: int | None, weight: Weight, start: int, stop: int) -> np.ndarray:
    one = array if layer is None else array[layer]
    values = (one.T if weight.transpose else one)[start:stop]
    values = values[(slice(None), *(slice(size) for size in weight.hf_shape[1:]))]
    return (values.T.read().result()).T if weight.transpose else values.read().result()


def write_orbax(tensors: Mapping[str, HFTensor], config: ModelConfig, path: Any, *, tokenizer_from: Any = None) -> None:
    """Writes a folder that ``from_pretrained``, training and Orbax read; it appears whole.

    Args:
      tensors: Hugging Face tensors by name; a weight stacked of several takes the widest dtype among them.
      path: a local folder.
      tokenizer_from: as in ``saving.write_checkpoint``.

    Raises:
      InputError: ``path`` is a file or an address in a bucket.
      RunError: the disk is full.
    """
    if is_remote(path):
        raise InputError("path", str(path), "Orbax folders are written to local disks; write Hugging Face format there")
    table = weight_table(replace(config, vocab_rows=0))
    with atomic_local_folder(path) as folder:
        checkpoint = folder.path / PARAMS
        checkpoint.mkdir()
        with progress("saving", sum(tensor.bytes for tensor in tensors.values())) as advance:
            for tree_path, weight in table.items():
                _write_array(checkpoint, ".".join(tree_path), weight, tensors, advance)
        inside = LocalFolder(checkpoint)
        write_json(inside, _METADATA, _tree_metadata(table))
        write_json(inside, _COMPLETE, _completion())
        write_config(folder, config, tensors["model.embed_tokens.weight"].dtype, tokenizer_from)


def _spec(checkpoint: Path | str, name: str) -> dict[str, Any]:
    return {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": kvstore(checkpoint), "path": f"{name}/"}}


def _write_array(
    checkpoint: Path, name: str, weight: Weight, tensors: Mapping[str, HFTensor], advance: Callable[[int], None]
) -> None:
    parts = [(tensors[hf_name], layer) for hf_name, layer in weight.hf_tensors()]
    dtype = np.dtype(jnp.result_type(*{tensor.dtype for tensor, _ in parts}))
    runs = row_runs(weight.hf_shape[0], parts[0][0].bytes // weight.hf_shape[0])
    # A chunk is read and written at a time: some rows of one HF tensor. Weights do not compress.
    one = (runs[0][1], *weight.hf_shape[1:])
    chunk = (() if weight.layers is None else (1,)) + (one[::-1] if weight.transpose else one)
    metadata = {
        "shape": list(weight.shape),
        "chunks": list(chunk),
        "compressor": None,
        "dtype": "bfloat16" if dtype.name == "bfloat16" else dtype.str,
    }
    array = ts.open(_spec(checkpoint, name) | {"metadata": metadata}, create=True).result()
    wanted = [(tensor, layer, start, stop) for tensor, layer in parts for start, stop in runs]

    def read(tensor: HFTensor, layer: int | None, start: int, stop: int) -> np.ndarray:
        values = tensor.rows(start, stop).astype(dtype, copy=False)
        return contiguous(values.T if weight.transpose else values)

    for (tensor, layer, start, stop), values in zip(wanted, read_ahead(read, wanted), strict=True):
        target = array if layer is None else array[layer]
        target = target[..., start:stop] if weight.transpose else target[start:stop]
        try:
            target.write(values).result()
        except ValueError as error:
            raise not_written(checkpoint, error) from error
        advance(values.size * tensor.dtype.itemsize)


def _tree_metadata(table: Mapping[TreePath, Weight]) -> dict[str, Any]:
    """Orbax's description of the tree: dictionaries down to arrays."""
    tree = {
        str(path): {
            "key_metadata": [{"key": key, "key_type": _DICT_KEY} for key in path],
            "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False, "write_shape": list(weight.shape)},
        }
        for path, weight in table.items()
    }
    return {
        "tree_metadata": tree,
        "use_ocdbt": True,
        "use_zarr3": False,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }


def _completion() -> dict[str, Any]:
    """The file that Orbax writes last; a folder without it counts as unfinished."""
    now = time.time_ns()
    handler = "orbax.checkpoint._src.handlers.standard_checkpoint_handler.StandardCheckpointHandler"
    return {
        "item_handlers": handler,
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": now,
        "commit_timestamp_nsecs": now,
        "custom_metadata": {},
    }


def open_model(
    folder: LocalFolder | BucketFolder, hf_config: Mapping[str, Any]
) -> tuple[ModelConfig, dict[str, HFTensor]]:
    """Config and tensors, no values read yet, of a Hugging Face folder or of one that ``write_orbax`` wrote.

    In the folder of a LoRA adapter they are those of its base model with the adapter merged.

    Args:
      hf_config: the content of its ``config.json``.

    Raises:
      InputError: no weights, an unsupported config, or tensors that do not fit it.
    """
    if not is_orbax(folder):
        if folder.exists(ADAPTER_CONFIG) and not has_weights(folder):
            settings = read_json(folder, ADAPTER_CONFIG)
            config, base = open_model(open_folder(base_address(folder, settings)), hf_config)
            return config, merge_adapter(read_adapter(folder, settings), base)
        return read_checkpoint(folder, hf_config)
    config = ModelConfig.from_hf(hf_config)
    return config, read_orbax(folder.path / PARAMS, config)
