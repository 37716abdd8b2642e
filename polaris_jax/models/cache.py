"""A decoder's cache of the tokens so far: its arrays, how it grows, and its sharding on a mesh.

Attention layers keep keys and values, linear layers a convolution tail and a memory matrix. Weights and cache have two
forms. *Stacked*, layers are one scan: compilation is flat in depth. *Unstacked* (``unstack``, ``init_cache(...,
unstacked=True)``), layers are a loop in the program: slower to compile, but no layer is copied out of its stack first,
which halves the time per token where memory bandwidth is the limit (CPU).
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import Params
from polaris_jax.ops.cached_attention import BLOCK, CONTEXT, head_axis, row_axes

RECURRENT = ("conv", "memory")


def unstack(params: Params) -> Params:
    """The same parameters with ``blocks`` a tuple of one tree per repeat of the group; for ``extend`` only. Copies.

    A tied head gets a copy in the layout of a head, ``[D, V]``: a CPU reads that faster.
    """
    repeats = len(jax.tree.leaves(params["blocks"])[0])
    blocks = tuple(jax.tree.map(itemgetter(r), params["blocks"]) for r in range(repeats))
    tied = {} if "head" in params else {"tied_head": jnp.asarray(params["embed"]["embedding"].T)}
    return params | tied | {"blocks": blocks}


def init_cache(
    config: ModelConfig,
    batch: int,
    length: int,
    dtype: Any = jnp.float32,
    *,
    unstacked: bool = False,
    pages: int | None = None,
    adapters: bool = False,
) -> Params:
    """An empty cache for ``batch`` rows of up to ``length`` tokens.

    Args:
      length: rounded up to whole blocks of ``ops.cached_attention`` when it is longer than one.
      dtype: of keys, values and convolution tails; with int8, tails are bfloat16.
      unstacked: for weights from ``unstack``: ``blocks`` is a tuple of such trees, each with ``repeats`` 1.
      pages: keys and values lie in so many pages of one block, which any row may have; default: every row has its own.
      adapters: for weights with adapters (``adapter_bank``): the cache says which one reads each row.

    Returns:
      ``{"length": [B] int32, "blocks": {"0": ...}}``. Attention layers hold ``k`` and ``v``, each
      ``[repeats, B, G, length, d]`` (int8 with ``k_scale``, ``v_scale [repeats, B, G, length] float32``); linear layers
      hold ``conv [repeats, B, K-1, C]`` and ``memory [repeats, B, H, dk, dv] float32``. With ``pages`` there is also
      ``pages [B, length / BLOCK] int32``, those of every row in order (``WriteIndex.pages``), and keys and values have
      ``pages`` and ``BLOCK`` in the place of ``B`` and ``length``. With ``adapters`` there is ``adapter [B] int32``, 0
      for none.
    """
    repeats = config.num_layers // len(config.group)
    length = length if length <= BLOCK else -(-length // BLOCK) * BLOCK
    places = (batch, length) if pages is None else (pages, BLOCK)
    make = partial(_empty_blocks, config, batch=batch, places=places, dtype=jnp.dtype(dtype))
    blocks = tuple(make(1) for _ in range(repeats)) if unstacked else make(repeats)
    table = {} if pages is None else {"pages": jnp.zeros((batch, length // BLOCK), jnp.int32)}
    chosen = {"adapter": jnp.zeros((batch,), jnp.int32)} if adapters else {}
    return {"length": jnp.zeros((batch,), jnp.int32), **table, **chosen, "blocks": blocks}


def _empty_blocks(config: ModelConfig, repeats: int, batch: int, places: tuple[int, int], dtype: jnp.dtype) -> Params:
    blocks = {}
    for j, kind in enumerate(config.group):
        if kind == "linear_attention":
            sizes = config.linear
            assert sizes is not None  # ``ModelConfig`` has it when there are linear layers
            memory = (repeats, batch, sizes.value_heads, sizes.key_dim, sizes.value_dim)
            tail = (repeats, batch, sizes.conv_kernel - 1, sizes.channels)
            blocks[str(j)] = {
                "conv": jnp.zeros(tail, jnp.bfloat16 if dtype == jnp.int8 else dtype),
                "memory": jnp.zeros(memory, jnp.float32),
            }
        else:
            outer, inner = places
            shape = (repeats, outer, config.num_kv_heads, inner, config.head_dim)
            blocks[str(j)] = {name: jnp.zeros(shape, dtype) for name in ("k", "v")}
            if dtype == jnp.int8:
                blocks[str(j)] |= {f"{name}_scale": jnp.zeros(shape[:-1], jnp.float32) for name in ("k", "v")}
    return blocks


def map_blocks(change: Callable[..., Any], cache: Params, *others: Params) -> Params:
    """``change(name, array, ...)`` on every array of ``blocks`` (axis 1 is the rows), keeping the lengths."""
    at_leaf = lambda path, *leaves: change(path[-1].key, *leaves)  # noqa: E731
    blocks = jax.tree_util.tree_map_with_path(at_leaf, cache["blocks"], *(other["blocks"] for other in others))
    return cache | {"blocks": blocks}


def grow(cache: Params, more: int, shards: int = 1) -> Params:
    """The cache with room for ``more`` further tokens per row, divided over ``shards`` of the ``context`` axis."""

    def longer(name: str, x: jax.Array) -> jax.Array:
        if name in RECURRENT:
            return x
        N, B, G, L, *rest = x.shape
        x = x.reshape(N, B, G, shards, L // shards, *rest)
        x = jnp.pad(x, [(0, 0)] * 4 + [(0, more // shards)] + [(0, 0)] * len(rest))
        return x.reshape(N, B, G, L + more, *rest)

    return map_blocks(longer, cache)


def cache_sharding(mesh: Mesh, cache: Params) -> Params:
    """``NamedSharding`` of each array of a cache: rows over ``data`` and ``fsdp``, heads over ``tensor``, tokens over
    ``context``; an axis that does not divide is left whole."""

    def sharding(name: str, x: jax.Array) -> NamedSharding:
        rows = row_axes(mesh, x.shape[1])
        if name == "memory":
            return NamedSharding(mesh, P(None, rows, head_axis(mesh, x.shape[2])))
        if name == "conv":  # its channels are the columns of a projection, which lie so
            return NamedSharding(mesh, P(None, rows, None, head_axis(mesh, x.shape[3])))
        heads = head_axis(mesh, x.shape[2])
        return NamedSharding(mesh, P(None, None, heads) if "pages" in cache else P(None, rows, heads, CONTEXT))

    whole = {name: NamedSharding(mesh, P()) for name in cache if name != "blocks"}
    return map_blocks(sharding, cache) | whole


def take_rows(x: jax.Array, rows: jax.Array | None, axis: int = 0) -> jax.Array:
    """One row of each group: the axis of ``B`` becomes ``n``; ``rows [n]`` as in ``WriteIndex``, None takes all."""
    if rows is None:
        return x
    if len(rows) == 1:
        return jax.lax.dynamic_slice_in_dim(x, rows[0], 1, axis)
    grouped = x.reshape(*x.shape[:axis], len(rows), -1, *x.shape[axis + 1 :])
    take = partial(jax.lax.dynamic_index_in_dim, axis=axis, keepdims=False)
    return jax.vmap(take, (axis, 0), axis)(grouped, rows)


def put_rows(x: jax.Array, new: jax.Array, rows: jax.Array | None, axis: int = 0) -> jax.Array:
    """``x`` with ``new``, cast to its dtype, where ``take_rows`` finds it."""
    new = new.astype(x.dtype)
    if rows is None:
        return new
    if len(rows) == 1:
        return jax.lax.dynamic_update_slice_in_dim(x, new, rows[0], axis)
    grouped = x.reshape(*x.shape[:axis], len(rows), -1, *x.shape[axis + 1 :])
    put = jax.vmap(partial(jax.lax.dynamic_update_index_in_dim, axis=axis), (axis, axis, 0), axis)
    return put(grouped, new, rows).reshape(x.shape)
