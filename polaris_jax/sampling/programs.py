"""The compiled programs of a decode cache: append tokens (score them, guess ahead), save rows, restore rows.

``append`` reads a chunk of tokens and leaves the logits after it: one token of every row, or up to a whole prefill
chunk of one row (one per shard, on a mesh). ``options.sample_tokens`` turns logits into tokens; it is a program of its
own so that the host can compute the grammar masks of the next tokens while the device still reads the last ones. All
programs update their arguments in place.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.models.cache import RECURRENT, cache_sharding, map_blocks, put_rows, take_rows
from polaris_jax.models.cached_forward import cached_forward
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import unembed
from polaris_jax.ops.cached_attention import attention_over, row_axes

# Positions whose logits are computed at once when a prompt is scored.
SCORED_PLACES = 32


class DecodeState(NamedTuple):
    """The state of ``B`` rows on the device.

    Attributes:
      cache: ``models.init_cache``.
      logits: ``[B, V] float32``, for the token after each row.
    """

    cache: Any
    logits: jax.Array


class Snapshot(NamedTuple):
    """One saved state per row: logits ``[B, V]``, and copies of the recurrent layers, which cannot be shortened."""

    recurrent: Any
    logits: jax.Array


class PromptScores(NamedTuple):
    """Scores of given tokens under the model, each after the tokens before it.

    Attributes:
      logprob: ``[n, T] float32`` (nats); rank: ``[n, T] int32``, 1 for the most probable.
      top_tokens, top_logprobs: ``[n, T, top] int32`` and ``float32`` (nats), the most probable tokens, best first.
    """

    logprob: jax.Array
    rank: jax.Array
    top_tokens: jax.Array
    top_logprobs: jax.Array


class RestorePlan(NamedTuple):
    """Which state each row gets; every array is ``[n]``, one entry per group of rows (``WriteIndex.rows``).

    Attributes:
      active: False leaves the group as it is.
      source, target: positions in the group.
      from_snapshot: take the source's saved state, not its present one.
      length: tokens to keep; 0 empties the row.
    """

    active: jax.Array
    source: jax.Array
    target: jax.Array
    from_snapshot: jax.Array
    length: jax.Array


@partial(jax.jit, static_argnames=("config", "compute_dtype", "mesh"), donate_argnames="state")
def append(
    params: Any,
    state: DecodeState,
    tokens: jax.Array,
    valid: jax.Array,
    rows: jax.Array | None,
    *,
    config: ModelConfig,
    compute_dtype: Any,
    mesh: Mesh | None,
) -> DecodeState:
    """Reads ``tokens [n, T]``, of which ``valid [n]`` are real, into all rows or ``rows`` (``cached_forward``)."""
    return _read(params, state, tokens, valid, rows, config, compute_dtype, mesh)[0]


@partial(jax.jit, static_argnames=("config", "compute_dtype", "mesh"), donate_argnames="state")
def append_ahead(
    params: Any,
    state: DecodeState,
    tokens: jax.Array,
    valid: jax.Array,
    guessed: jax.Array,
    *,
    config: ModelConfig,
    compute_dtype: Any,
    mesh: Mesh | None,
) -> tuple[DecodeState, jax.Array]:
    """``append`` to all rows where the last ``guessed [B]`` of the ``valid [B]`` tokens are not certain.

    Returns:
      The state after the certain tokens, and the logits after every token, ``[B, T, V] float32`` (``advance``).
    """
    cache, logits = state
    hidden, cache = _cached_hidden(params, cache, tokens, valid, None, len(logits), config, compute_dtype, mesh)
    ahead = unembed(params, config, hidden).astype(jnp.float32)
    certain = valid - guessed
    cache |= {"length": cache["length"] - guessed}
    return _keep_sharding(DecodeState(cache, _logits_at(ahead, certain, logits)), mesh), ahead


@partial(jax.jit, static_argnames="mesh", donate_argnames="state")
def advance(
    state: DecodeState, ahead: jax.Array, more: jax.Array, read: jax.Array, *, mesh: Mesh | None
) -> DecodeState:
    """The state after ``more [B]`` right guesses, and after ``read [B]`` of the tokens of ``ahead``."""
    cache, logits = state
    cache = cache | {"length": cache["length"] + more}
    return _keep_sharding(DecodeState(cache, _logits_at(ahead, jnp.where(more > 0, read, 0), logits)), mesh)


def _logits_at(ahead: jax.Array, count: jax.Array, others: jax.Array) -> jax.Array:
    """The logits after ``count [B]`` tokens of ``ahead [B, T, V]``; those of ``others [B, V]`` where there are none."""
    chosen = jnp.take_along_axis(ahead, jnp.maximum(count - 1, 0)[:, None, None], axis=1)[:, 0]
    return jnp.where((count > 0)[:, None], chosen, others)


@partial(jax.jit, static_argnames=("config", "compute_dtype", "mesh", "top"), donate_argnames="state")
def append_scored(
    params: Any,
    state: DecodeState,
    tokens: jax.Array,
    valid: jax.Array,
    rows: jax.Array,
    targets: jax.Array,
    *,
    config: ModelConfig,
    compute_dtype: Any,
    mesh: Mesh | None,
    top: int,
) -> tuple[DecodeState, PromptScores]:
    """``append``, and the scores of ``targets [n, T]``: at each position, the token that follows it."""
    state, hidden = _read(params, state, tokens, valid, rows, config, compute_dtype, mesh)

    def score(part: tuple[jax.Array, jax.Array]) -> PromptScores:
        here, target = part  # [n, D], [n]: logits of one place at a time, so that they never fill the memory
        logits = unembed(params, config, here).astype(jnp.float32)
        log_p = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        own = jnp.take_along_axis(log_p, target[:, None], axis=-1)
        best, which = jax.lax.top_k(log_p, top)
        return PromptScores(own[:, 0], 1 + jnp.sum(log_p > own, axis=-1), which.astype(jnp.int32), best)

    scores = jax.lax.map(score, (hidden.swapaxes(0, 1), targets.T), batch_size=SCORED_PLACES)
    return state, jax.tree.map(lambda x: x.swapaxes(0, 1), scores)


def _read(
    params: Any,
    state: DecodeState,
    tokens: jax.Array,
    valid: jax.Array,
    rows: jax.Array | None,
    config: ModelConfig,
    compute_dtype: Any,
    mesh: Mesh | None,
) -> tuple[DecodeState, jax.Array]:
    """The state after ``tokens``, and the last hidden states ``[n, T, D]``."""
    cache, logits = state
    hidden, cache = _cached_hidden(params, cache, tokens, valid, rows, len(logits), config, compute_dtype, mesh)
    last = jnp.take_along_axis(hidden, jnp.maximum(valid - 1, 0)[:, None, None], axis=1)[:, 0]
    new = jnp.where((valid > 0)[:, None], unembed(params, config, last), take_rows(logits, rows))
    return _keep_sharding(DecodeState(cache, put_rows(logits, new, rows)), mesh), hidden


def _cached_hidden(
    params: Any,
    cache: Any,
    tokens: jax.Array,
    valid: jax.Array,
    rows: jax.Array | None,
    batch: int,
    config: ModelConfig,
    compute_dtype: Any,
    mesh: Mesh | None,
) -> tuple[jax.Array, Any]:
    """``cached_forward`` over a cache of ``batch`` rows, on one device or over the mesh."""
    attend = attention_over(mesh, batch, config.num_kv_heads)
    return cached_forward(params, config, tokens, cache, valid, rows=rows, attend=attend, compute_dtype=compute_dtype)


@partial(jax.jit, donate_argnames="snapshot")
def save(state: DecodeState, snapshot: Snapshot, chosen: jax.Array) -> Snapshot:
    """Saves the present state of the rows where ``chosen [B] bool``."""

    def pick(new: jax.Array, old: jax.Array, axis: int) -> jax.Array:
        return jnp.where(jnp.expand_dims(chosen, [a for a in range(old.ndim) if a != axis]), new, old)

    recurrent = jax.tree.map(partial(pick, axis=1), recurrent_part(state.cache), snapshot.recurrent)
    return Snapshot(recurrent, pick(state.logits, snapshot.logits, 0))


@partial(jax.jit, static_argnames=("copy", "mesh"), donate_argnames="state")
def restore(state: DecodeState, snapshot: Snapshot, plan: RestorePlan, *, copy: bool, mesh: Mesh | None) -> DecodeState:
    """Returns rows to a state; ``copy`` copies keys and values from source to target, else both are the same row."""
    cache, logits = state
    active, source, target, from_snapshot, length = plan
    source = jnp.where(active, source, target)

    def row_state(now: jax.Array, saved: jax.Array, axis: int) -> jax.Array:
        wide = partial(jnp.expand_dims, axis=[a for a in range(now.ndim) if a != axis])
        chosen = jnp.where(wide(from_snapshot & active), take_rows(saved, source, axis), take_rows(now, source, axis))
        return put_rows(now, jnp.where(wide(active & (length == 0)), 0, chosen), target, axis)

    def layer(name: str, now: jax.Array, saved: jax.Array) -> jax.Array:
        if name in RECURRENT:
            return row_state(now, saved, 1)
        return put_rows(now, take_rows(now, source, 1), target, 1) if copy else now

    cache = map_blocks(layer, cache, {"blocks": snapshot.recurrent})
    lengths = jnp.where(active, length, take_rows(cache["length"], target))
    cache |= {"length": put_rows(cache["length"], lengths, target)}
    return _keep_sharding(DecodeState(cache, row_state(logits, snapshot.logits, 0)), mesh)


@partial(jax.jit, static_argnames="mesh", donate_argnames="state")
def copy_page(state: DecodeState, source: jax.Array, target: jax.Array, *, mesh: Mesh | None) -> DecodeState:
    """Copies one page of keys and values of all layers onto another."""

    def copied(name: str, x: jax.Array) -> jax.Array:
        if name in RECURRENT:
            return x
        page = jax.lax.dynamic_slice_in_dim(x, source, 1, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(x, page, target, axis=1)

    return _keep_sharding(state._replace(cache=map_blocks(copied, state.cache)), mesh)


def with_rows(state: DecodeState, name: str, values: np.ndarray, mesh: Mesh | None) -> DecodeState:
    """The state whose rows have these ``pages [B, M] int32`` or ``adapter [B] int32`` of the cache."""
    array = jnp.array(values) if mesh is None else jax.device_put(values.copy(), NamedSharding(mesh, P()))
    return state._replace(cache=state.cache | {name: array})


def recurrent_part(cache: Any) -> Any:
    """The states of recurrent layers, which cannot be shortened; keys and values are replaced by empty arrays."""
    rows = len(cache["length"])
    none = lambda x: jnp.zeros((x.shape[0], rows, *(0,) * (x.ndim - 2)), x.dtype)  # noqa: E731
    return map_blocks(lambda name, x: x if name in RECURRENT else none(x), cache)["blocks"]


def _keep_sharding(state: DecodeState, mesh: Mesh | None) -> DecodeState:
    """Keeps the state's sharding, so that no call is compiled for another one."""
    return state if mesh is None else jax.lax.with_sharding_constraint(state, state_sharding(mesh, state))


def state_sharding(mesh: Mesh, state: DecodeState) -> Any:
    """Where on the mesh each array lives: a ``DecodeState`` of ``NamedSharding``."""
    rows: Any = NamedSharding(mesh, P(row_axes(mesh, state.logits.shape[0])))
    return DecodeState(cache_sharding(mesh, state.cache), rows)
