"""The layout of a token store, and how each part is checked; the same on a disk and in a bucket."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorstore as ts

from polaris_jax.errors import InputError
from polaris_jax.storage import brief, kvstore

FORMAT = "polaris-token-store-1"
MANIFEST = "manifest.json"
REBUILD = "delete the store and build it again"
SHARD = 1 << 22  # elements per file along the first axis
# name → dtype, number of columns (0: a vector), elements per separately readable and checksummed piece
ARRAYS = {
    "tokens": ("int32", 0, 1 << 16),
    "offsets": ("int64", 0, 1 << 12),
    "runs": ("int32", 4, 1 << 12),
    "run_weights": ("float32", 0, 1 << 12),
    "run_offsets": ("int64", 0, 1 << 12),
}


def generation(number: int) -> str:
    """The folder of the ``number``-th build at an address. Names sort like numbers."""
    return f"generation-{number:06d}/"


def delete_generations(path: str | os.PathLike[str], keep: set[int]) -> None:
    """Deletes every build at ``path`` except those in ``keep``; the manifest stays."""
    keys = ts.KvStore.open(kvstore(path)).result().list().result()
    builds = {key.split(b"/")[0].decode() + "/" for key in keys if key.startswith(b"generation-")}
    for build in sorted(builds - {generation(number) for number in keep}):
        ts.KvStore.open(kvstore(path) + build).result().delete_range(ts.KvStore.KeyRange()).result()


def reading(root: str, name: str) -> dict[str, Any]:
    """TensorStore spec that opens array ``name`` under ``root``; a missing chunk is an error, not zeros."""
    return {
        "driver": "zarr3",
        "kvstore": f"{root}{name}/",
        "fill_missing_data_reads": False,
        "recheck_cached_data": "open",
    }


def creating(root: str, name: str) -> dict[str, Any]:
    """TensorStore spec of a new array of unbounded length."""
    dtype, columns, piece = ARRAYS[name]
    tail = [columns] if columns else []
    numbers = {"name": "bytes", "configuration": {"endian": "little"}}
    checksum = {"name": "crc32c"}
    sharding = {
        "chunk_shape": [piece, *tail],
        "codecs": [numbers, {"name": "zstd", "configuration": {"level": 3}}, checksum],
        "index_codecs": [numbers, checksum],
        "index_location": "start",  # a plain byte range; not every object store serves "the last n bytes"
    }
    metadata = {
        "shape": [1 << 48, *tail],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SHARD, *tail]}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "fill_value": 0,
    }
    return reading(root, name) | {"metadata": metadata, "store_data_equal_to_fill_value": True}


def content_hash(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) over the tokenizer and every trajectory's entry."""
    body = {key: manifest[key] for key in ("format", "tokenizer", "trajectories")}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest of the store at ``path``, or None where there is none.

    Raises:
      InputError: the address cannot be reached, or the manifest is damaged.
    """
    try:
        found = ts.KvStore.open(kvstore(path)).result().read(MANIFEST).result()
    except ValueError as error:
        raise InputError("store", str(path), f"cannot be reached ({brief(error)})") from error
    if found.state != "value":
        return None
    try:
        manifest = json.loads(found.value)
        whole = manifest["format"] == FORMAT and manifest["content_hash"] == content_hash(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("store", str(path), f"has a damaged {MANIFEST} ({error!r}); {REBUILD}") from error
    if not whole:
        raise InputError("store", str(path), f"has a damaged {MANIFEST}, or one of another version; {REBUILD}")
    return manifest
