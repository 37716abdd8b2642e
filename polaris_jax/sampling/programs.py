"""The compiled programs under every text: read on, remember a state, go back to one.

``read`` adds a chunk of tokens to a cache and gives the logits after it: one token of every text, or up to a whole
prefill chunk of one text (of one per shard, on a mesh). ``options.draw`` turns logits into tokens; it is a program of
its own so that between dispatching the one and the other the host computes the grammar masks of the next tokens, while
the device is still reading the last ones. All of them update their arguments in place.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.models.cache import RECURRENT, cache_sharding, map_blocks, put_rows, take_rows
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import project_logits
from polaris_jax.models.reading import extend
from polaris_jax.ops.cached_attention import cached_attention, row_axes, sharded_cached_attention


class Texts(NamedTuple):
    """What the device holds of ``B`` texts.

    Attributes:
      cache: ``models.init_cache``.
      logits: ``[B, V] float32``, for the token after each text.
    """

    cache: Any
    logits: jax.Array


class Marks(NamedTuple):
    """One remembered state per text: logits ``[B, V]``, and copies of the layers that cannot be shortened."""

    recurrent: Any
    logits: jax.Array


class Move(NamedTuple):
    """Which state becomes which text's; every array ``[n]``, one entry per group of texts (``Place.rows``).

    Attributes:
      active: False leaves the group alone.
      source, target: positions in the group.
      marked: take the source's remembered state, not its present one.
      length: tokens to keep; 0 is the empty text.
    """

    active: jax.Array
    source: jax.Array
    target: jax.Array
    marked: jax.Array
    length: jax.Array


@partial(jax.jit, static_argnames=("config", "compute_dtype", "mesh"), donate_argnames="texts")
def read(
    params: Any, texts: Texts, tokens: jax.Array, valid: jax.Array, rows: jax.Array | None, *, config: ModelConfig,
    compute_dtype: Any, mesh: Mesh | None,
) -> Texts:
    """Reads ``tokens [n, T]``, of which ``valid [n]`` are real, into all texts or ``rows`` (see ``extend``)."""
    cache, logits = texts
    sharded = mesh is not None
    attend = sharded_cached_attention(mesh, len(logits), config.num_kv_heads) if sharded else cached_attention
    hidden, cache = extend(params, config, tokens, cache, valid, rows=rows, attend=attend, compute_dtype=compute_dtype)
    last = jnp.take_along_axis(hidden, jnp.maximum(valid - 1, 0)[:, None, None], axis=1)[:, 0]
    new = jnp.where((valid > 0)[:, None], project_logits(params, config, last), take_rows(logits, rows))
    return _placed(Texts(cache, put_rows(logits, new, rows)), mesh)


@partial(jax.jit, donate_argnames="marks")
def remember(texts: Texts, marks: Marks, chosen: jax.Array) -> Marks:
    """Marks the present state of the texts where ``chosen [B] bool``."""

    def pick(new: jax.Array, old: jax.Array, axis: int) -> jax.Array:
        return jnp.where(jnp.expand_dims(chosen, [a for a in range(old.ndim) if a != axis]), new, old)

    recurrent = jax.tree.map(partial(pick, axis=1), recurrent_part(texts.cache), marks.recurrent)
    return Marks(recurrent, pick(texts.logits, marks.logits, 0))


@partial(jax.jit, static_argnames=("copy", "mesh"), donate_argnames="texts")
def go_back(texts: Texts, marks: Marks, move: Move, *, copy: bool, mesh: Mesh | None) -> Texts:
    """Texts return to a state; with ``copy`` keys and values travel from source to target, else they are the same."""
    cache, logits = texts
    active, source, target, marked, length = move
    source = jnp.where(active, source, target)

    def state(now: jax.Array, remembered: jax.Array, axis: int) -> jax.Array:
        wide = partial(jnp.expand_dims, axis=[a for a in range(now.ndim) if a != axis])
        chosen = jnp.where(wide(marked & active), take_rows(remembered, source, axis), take_rows(now, source, axis))
        return put_rows(now, jnp.where(wide(active & (length == 0)), 0, chosen), target, axis)

    def layer(name: str, now: jax.Array, remembered: jax.Array) -> jax.Array:
        if name in RECURRENT:
            return state(now, remembered, 1)
        return put_rows(now, take_rows(now, source, 1), target, 1) if copy else now

    cache = map_blocks(layer, cache, {"blocks": marks.recurrent})
    lengths = jnp.where(active, length, take_rows(cache["length"], target))
    cache |= {"length": put_rows(cache["length"], lengths, target)}
    return _placed(Texts(cache, state(logits, marks.logits, 0)), mesh)


def recurrent_part(cache: Any) -> Any:
    """The layers' states that cannot be shortened; arrays of no size stand for keys and values."""
    return map_blocks(lambda name, x: x if name in RECURRENT else x[:, :, :0, :0], cache)["blocks"]


def _placed(texts: Texts, mesh: Mesh | None) -> Texts:
    """The texts where they were before, so that no call compiles for another placement."""
    return texts if mesh is None else jax.lax.with_sharding_constraint(texts, texts_sharding(mesh, texts))


def texts_sharding(mesh: Mesh, texts: Texts) -> Texts:
    """Where on the mesh each array lives."""
    rows = NamedSharding(mesh, P(row_axes(mesh, texts.logits.shape[0])))
    return Texts(cache_sharding(mesh, texts.cache), rows)
