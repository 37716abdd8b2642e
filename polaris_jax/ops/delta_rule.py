"""The gated delta rule (Yang, Kautz & Hatamizadeh 2024): a linear-time token mixer with a matrix-valued memory.

Per head, with unit keys ``k``, write strength ``beta`` in (0, 1) and log-decay ``g <= 0``::

    S <- exp(g) S;   S <- S + k (beta (v - S^T k))^T;   o = S^T q

``recurrent_delta_rule`` is that, one token at a time. ``gated_delta_rule`` is the same function chunk by chunk: all
tokens of a chunk are written at once, by one triangular solve. Everything here is float32 at the highest matmul
precision, because the solve amplifies the rounding of its inputs. The backward pass finds the memory between chunks
saved and computes the rest of a chunk again.

A row of tokens acts on the memory as an affine map, ``S -> A S + B`` per head, and so does every part of it. So a row
may be spread over devices (``ops.context_recurrence``).
"""

import functools
import operator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST
CHUNK = 64  # tokens


def causal_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    segment_ids: jax.Array | None = None,
    state: jax.Array | None = None,
    state_segments: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Depthwise convolution over the last K tokens, zeros before the document.

    Args:
      x: ``[B, S, C]``; kernel: ``[K, C]``, whose last row weighs the current token.
      segment_ids: ``[B, S] int32``; tokens of another segment count as zeros.
      state: the K-1 inputs before ``x``, ``[B, K-1, C]``; default zeros.
      state_segments: ``[B, K-1] int32``, their segments; default: with ``segment_ids``, none that is in ``x``.
      valid: ``[B] int32`` real tokens per row; default all.

    Returns:
      ``(y [B, S, C] float32, the K-1 inputs up to the last valid token)``.
    """
    B, _, C = x.shape
    K = kernel.shape[0]
    before = jnp.zeros((B, K - 1, C), x.dtype) if state is None else state.astype(x.dtype)
    row = jnp.concatenate([before, x], axis=1)
    owners = None
    if segment_ids is not None:
        if state_segments is None:
            state_segments = jnp.full((B, K - 1), -1, segment_ids.dtype)
        owners = jnp.concatenate([state_segments, segment_ids], axis=1)
    return _taps(row, kernel, owners), convolution_tail(x, K - 1, state=state, valid=valid)


def convolution_tail(
    x: jax.Array, length: int, *, state: jax.Array | None = None, valid: jax.Array | None = None
) -> jax.Array:
    """The last inputs of ``causal_convolution`` up to the last valid token, ``[B, length, C]``; arguments as there."""
    B, S, C = x.shape
    before = jnp.zeros((B, length, C), x.dtype) if state is None else state.astype(x.dtype)
    valid = jnp.full((B,), S, jnp.int32) if valid is None else valid
    last = valid[:, None] + jnp.arange(length)
    return jnp.take_along_axis(jnp.concatenate([before, x], axis=1), last[..., None], axis=1)


@jax.custom_vjp
def _taps(row: jax.Array, kernel: jax.Array, owners: jax.Array | None) -> jax.Array:
    """The sum over taps in float32. Of ``row [B, K-1 + S, C]`` the last S tokens.

    The gradient is written out, so that each of its sums is one pass over the row, rounded once.
    """
    pasts = _pasts(row, kernel.shape[0], owners)
    products = (past * tap for past, tap in zip(pasts, kernel.astype(jnp.float32), strict=True))
    return functools.reduce(operator.add, products)


def _pasts(row: jax.Array, K: int, owners: jax.Array | None) -> list[jax.Array]:
    """What each tap weighs, ``[B, S, C] float32``: zeros where it belongs to another document."""
    S = row.shape[1] - (K - 1)
    pasts = [row[:, tap : tap + S].astype(jnp.float32) for tap in range(K)]
    if owners is None:
        return pasts
    same = [owners[:, tap : tap + S] == owners[:, K - 1 :] for tap in range(K)]
    return [jnp.where(mask[..., None], past, 0.0) for mask, past in zip(same, pasts, strict=True)]


def _taps_backward(saved, dy):
    row, kernel, owners = saved
    K, length = kernel.shape[0], row.shape[1]
    dtaps = [jnp.sum(dy.astype(jnp.float32) * past, axis=(0, 1)) for past in _pasts(row, K, owners)]
    # Token t of the row is weighed by tap j for output t - j: the taps once more, over the gradients behind it.
    later = jnp.pad(dy, ((0, 0), (K - 1, K - 1), (0, 0)))
    drow = jnp.zeros((), jnp.float32)
    for tap in range(K):
        gradient = later[:, K - 1 - tap : K - 1 - tap + length].astype(jnp.float32)
        if owners is not None:
            behind = jnp.pad(owners[:, K - 1 :], ((0, 0), (K - 1, K - 1)), constant_values=-2)
            same = behind[:, K - 1 - tap : K - 1 - tap + length] == owners
            gradient = jnp.where(same[..., None], gradient, 0.0)
        drow = drow + gradient * kernel[tap].astype(jnp.float32)
    return drow.astype(row.dtype), jnp.stack(dtaps).astype(kernel.dtype), None


_taps.defvjp(lambda *saved: (_taps(*saved), saved), _taps_backward)


def _prepare(q, k, v, beta, log_decay, valid):
    """Float32; unit q and k, q scaled by ``dk ** -0.5``, key heads repeated; tokens beyond ``valid`` write nothing."""
    repeat = v.shape[2] // k.shape[2]
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    q = q * jax.lax.rsqrt(jnp.sum(q * q, axis=-1, keepdims=True) + 1e-6) * q.shape[-1] ** -0.5
    k = k * jax.lax.rsqrt(jnp.sum(k * k, axis=-1, keepdims=True) + 1e-6)
    q, k = (jnp.repeat(x, repeat, axis=2) for x in (q, k))
    beta, log_decay = beta.astype(jnp.float32), log_decay.astype(jnp.float32)
    if valid is not None:
        real = jnp.arange(q.shape[1])[None, :, None] < valid[:, None, None]
        beta, log_decay = jnp.where(real, beta, 0.0), jnp.where(real, log_decay, 0.0)
    return q, k, v, beta, log_decay


def recurrent_delta_rule(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    beta: jax.Array,
    log_decay: jax.Array,
    segment_ids: jax.Array | None = None,
    initial: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The recurrence, token by token: the reference, and the faster form for a few tokens. As ``gated_delta_rule``."""
    (B, S, H, dv), dtype = v.shape, v.dtype
    q, k, v, beta, log_decay = _prepare(q, k, v, beta, log_decay, valid)
    memory = jnp.zeros((B, H, q.shape[-1], dv)) if initial is None else initial.astype(jnp.float32)
    segments = jnp.ones((B, S), jnp.int32) if segment_ids is None else segment_ids
    # The given memory belongs to the first token's document.
    fresh = segments != jnp.pad(segments, ((0, 0), (1, 0)), mode="edge")[:, :S]

    def write(memory, token):
        q, k, v, beta, log_decay, fresh = token
        memory = memory * jnp.where(fresh[:, None], 0.0, jnp.exp(log_decay))[..., None, None]
        predicted = jnp.einsum("bhkv,bhk->bhv", memory, k, precision=HIGHEST)
        memory = memory + k[..., None] * (beta[..., None] * (v - predicted))[..., None, :]
        return memory, jnp.einsum("bhkv,bhk->bhv", memory, q, precision=HIGHEST)

    tokens = tuple(jnp.moveaxis(x, 1, 0) for x in (q, k, v, beta, log_decay, fresh))
    memory, out = jax.lax.scan(write, memory, tokens)
    return jnp.moveaxis(out, 0, 1).astype(dtype), memory


def gated_delta_rule(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    beta: jax.Array,
    log_decay: jax.Array,
    segment_ids: jax.Array | None = None,
    initial: jax.Array | None = None,
    valid: jax.Array | None = None,
    chunk: int = CHUNK,
) -> tuple[jax.Array, jax.Array]:
    """The gated delta rule over a row of tokens in storage order.

    Args:
      q, k: ``[B, S, N, dk]``, normed to unit length here; v: ``[B, S, H, dv]``; value head ``h`` reads key head
        ``h // (H // N)``.
      beta, log_decay: ``[B, S, H]``.
      segment_ids: ``[B, S] int32``, contiguous runs; the memory is empty at the start of each.
      initial: memory before the first token, ``[B, H, dk, dv]``, of the first token's document; default zeros.
      valid: ``[B] int32`` real tokens per row; later ones leave the memory unchanged.
      chunk: tokens per chunk; any value gives the same result.

    Returns:
      ``(o [B, S, H, dv] in the dtype of v, rounded once, memory after the row [B, H, dk, dv] float32)``.
    """
    B, S, H, dv = v.shape
    if S < 8:
        return recurrent_delta_rule(
            q, k, v, beta=beta, log_decay=log_decay, segment_ids=segment_ids, initial=initial, valid=valid
        )
    if valid is not None:
        real = jnp.arange(S)[None, :, None] < valid[:, None, None]
        beta, log_decay = (jnp.where(real, x, 0) for x in (beta, log_decay))
    rows = _rows(chunk, segment_ids, q, k, v, beta, log_decay)
    memory = jnp.zeros((B, H, q.shape[-1], dv)) if initial is None else initial.astype(jnp.float32)

    # Of a chunk only its inputs and the memory before it are kept: what lies between is several times as large.
    @partial(jax.checkpoint, prevent_cse=False)
    def step(memory, rows):
        owner, segments, *tokens = rows
        c = _chunk(owner, segments, *_prepare(*tokens, None))
        written = c.learned - _mm("bhik,bhkv->bhiv", c.forgotten, memory)
        out = _mm("bhik,bhkv->bhiv", c.asked, memory) + _mm("bhij,bhjv->bhiv", c.scores, written)
        return c.after(memory, written), jnp.swapaxes(out, 1, 2).astype(v.dtype)

    memory, out = jax.lax.scan(step, memory, rows)
    return jnp.moveaxis(out, 0, 1).reshape(B, -1, H, dv)[:, :S], memory


def _mm(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, a, b, precision=HIGHEST)


@jax.custom_vjp
def unit_triangular_solve(lower: jax.Array, wanted: jax.Array) -> jax.Array:
    """``X`` of ``(I + lower) X = wanted``, for strictly lower triangular ``lower [..., C, C]``; ``wanted [..., C, n]``.

    By the inverse, from products alone: jaxlib's solver for CPUs waits in a thread of XLA's pool for others of that
    pool, and host devices that all wait there at once wait for ever.
    """
    return _mm("...ij,...jn->...in", _inverse(lower), wanted)


def _solve_forward(lower, wanted):
    inverse = _inverse(lower)
    solved = _mm("...ij,...jn->...in", inverse, wanted)
    return solved, (inverse, solved)


def _solve_backward(saved, dsolved):
    inverse, solved = saved
    dwanted = _mm("...ij,...in->...jn", inverse, dsolved)
    return -_mm("...in,...jn->...ij", dwanted, solved), dwanted


unit_triangular_solve.defvjp(_solve_forward, _solve_backward)


def _inverse(lower: jax.Array) -> jax.Array:
    """``(I + lower)⁻¹`` by halves.

    With the inverses ``T`` of the diagonal blocks of some size, those of twice the size are ``T - T N T``, where ``N``
    is what lies between two neighbours. Nothing grows on the way.
    """
    C = lower.shape[-1]
    place = jnp.arange(C)

    def between(size: int) -> jax.Array:
        block = place // size
        near = (block[:, None] // 2 == block // 2) & (block[:, None] != block)
        return jnp.where(near, lower, 0.0)

    found, size = jnp.eye(C) - between(1), 2
    while size < C:
        found -= _mm("...ij,...jk->...ik", found, _mm("...ij,...jk->...ik", between(size), found))
        size *= 2
    return found


def _rows(chunk: int, segment_ids: jax.Array | None, *tokens: jax.Array) -> tuple[jax.Array, ...]:
    """The row cut into chunks: ``(owner [n, B], segments [n, B, C], *tokens [n, B, C, ...])``.

    ``owner`` is the segment that the memory before a chunk belongs to.
    """
    B, S = tokens[0].shape[:2]
    C = min(chunk, S)
    segments = jnp.ones((B, S), jnp.int32) if segment_ids is None else segment_ids
    if padding := -S % C:
        # Padding continues the last document and writes nothing, so that its memory survives to the end.
        segments = jnp.pad(segments, ((0, 0), (0, padding)), mode="edge")
        tokens = tuple(jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2)) for x in tokens)
    cut = [jnp.moveaxis(x.reshape(B, -1, C, *x.shape[2:]), 1, 0) for x in (segments, *tokens)]
    owners = jnp.concatenate([cut[0][:1, :, 0], cut[0][:-1, :, -1]])
    return owners, *cut


class _Chunk(NamedTuple):
    """One chunk of C tokens as linear functions of the memory before it; all ``[B, H, ...] float32``.

    What is written: ``learned - forgotten @ memory``. The output: ``asked @ memory + scores @ written``. The memory
    after it: ``kept * memory + keys^T @ written``.
    """

    learned: jax.Array  # [.., C, dv]
    forgotten: jax.Array  # [.., C, dk]
    asked: jax.Array  # [.., C, dk]
    scores: jax.Array  # [.., C, C]
    keys: jax.Array  # [.., C, dk]
    kept: jax.Array  # [..]

    def after(self, memory: jax.Array, written: jax.Array) -> jax.Array:
        return memory * self.kept[..., None, None] + _mm("bhjk,bhjv->bhkv", self.keys, written)


def _chunk(owner, segments, q, k, v, beta, log_decay) -> _Chunk:
    """``owner [B]``, ``segments [B, C]``, the others ``[B, C, H, ...]`` from ``_prepare``."""
    q, k, v, beta, log_decay = (jnp.swapaxes(x, 1, 2) for x in (q, k, v, beta, log_decay))  # [B, H, C, ...]
    C, dv = v.shape[-2:]
    decay_in = jnp.cumsum(log_decay, axis=-1)  # G_i, from the chunk's start through token i
    same = (segments[:, :, None] == segments[:, None, :])[:, None]
    earlier = jnp.tril(jnp.ones((C, C), bool)) & same
    # Masked before the exponential: above the diagonal the difference is positive and would overflow.
    decay = jnp.exp(jnp.where(earlier, decay_in[..., :, None] - decay_in[..., None, :], -jnp.inf))
    from_memory = jnp.where((segments == owner[:, None])[:, None], jnp.exp(decay_in), 0.0)

    # What token i must still learn after the others of its chunk: (I + A) [U | W] = [beta v | beta exp(G) k].
    overlap = _mm("bhik,bhjk->bhij", k, k) * decay * beta[..., None]
    wanted = jnp.concatenate([v, k * from_memory[..., None]], axis=-1) * beta[..., None]
    solved = unit_triangular_solve(jnp.tril(overlap, -1), wanted)
    return _Chunk(
        learned=solved[..., :dv],
        forgotten=solved[..., dv:],
        asked=q * from_memory[..., None],
        scores=_mm("bhik,bhjk->bhij", q, k) * decay,
        # The last row of ``decay`` is exp(G_C - G_j) for the tokens of the chunk's last segment, zero for the others.
        keys=k * decay[..., -1, :, None],
        kept=from_memory[..., -1],
    )
