"""Restoring several replicas of the state: the first reads, and the others get its bits over the network.

All replicas along ``data`` hold the same state. Without this, each of them would read storage. Orbax has its own
single-replica restore. It adds zeros to the numbers, which loses the sign of a zero, and our fingerprints notice. Here
the bit patterns are added instead.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
_DTYPES = ("float32", "bfloat16", "float16", "int32", "uint32", "int8", "uint8")  # that a state may hold


def reading_replica(sharding: Sharding) -> Mesh | None:
    """The part of a sharding's mesh whose processes read for all; None where every process reads for its own devices.

    That is the first replica along ``data``, unless there is only one, or a process belongs to several.
    """
    if not isinstance(sharding, NamedSharding) or not isinstance(sharding.mesh, Mesh):
        return None
    mesh = sharding.mesh
    processes = [{device.process_index for device in replica.flat} for replica in mesh.devices]
    if len(processes) == 1 or sum(map(len, processes)) > len(set().union(*processes)):
        return None
    return Mesh(mesh.devices[:1], mesh.axis_names, axis_types=mesh.axis_types)


def is_reading(replica: Mesh) -> bool:
    """Whether this process has devices in ``replica``."""
    return jax.process_index() in {device.process_index for device in replica.devices.flat}


def on_mesh(abstract: Any, mesh: Mesh) -> Any:
    """``jax.ShapeDtypeStruct`` leaves with the same specs on another mesh."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, leaf.sharding.spec)),
        abstract,
    )


def from_first_replica(found: Any, abstract: Any) -> Any:
    """The arrays of the first replica on every replica, bit for bit, one leaf at a time; every process must call it.

    Args:
      found: the arrays where this process read them, which are given up; None elsewhere.
      abstract: shapes and ``NamedSharding`` of the result, in no spec ``data``; the dtypes are those that were read.
    """
    wanted, structure = jax.tree.flatten(abstract)
    read = [None] * len(wanted) if found is None else jax.tree.leaves(found)
    dtypes = _dtypes_read(read)
    leaves = [_spread(mine, leaf, dtype) for mine, leaf, dtype in zip(read, wanted, dtypes, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def _dtypes_read(read: list[jax.Array | None]) -> list[jnp.dtype]:
    """The dtype of every leaf, sent to the processes that did not read it."""
    mine = np.array([0 if leaf is None else 1 + _DTYPES.index(leaf.dtype.name) for leaf in read], np.int32)
    return [jnp.dtype(_DTYPES[number - 1]) for number in np.max(multihost_utils.process_allgather(mine), axis=0)]


def _spread(mine: jax.Array | None, wanted: jax.ShapeDtypeStruct, dtype: jnp.dtype) -> jax.Array:
    mesh, spec = wanted.sharding.mesh, wanted.sharding.spec
    stacked = NamedSharding(mesh, P("data", *spec))
    shape = (mesh.shape["data"], *wanted.shape)
    here = {} if mine is None else {shard.device: shard.data for shard in mine.addressable_shards}
    local = (1, *wanted.sharding.shard_shape(wanted.shape))
    parts = [
        here[device].reshape(local) if device in here else jnp.zeros(local, dtype, device=device)
        for device in stacked.addressable_devices_indices_map(shape)
    ]
    whole = jax.make_array_from_single_device_arrays(shape, stacked, parts)
    return jax.jit(_first, out_shardings=wanted.sharding)(whole)


def _first(stacked: jax.Array) -> jax.Array:
    """The sum over replicas of which all but the first are zero bits."""
    bits = jax.lax.bitcast_convert_type(stacked, _UNSIGNED[stacked.dtype.itemsize])
    return jax.lax.bitcast_convert_type(bits.sum(axis=0, dtype=bits.dtype), stacked.dtype)
