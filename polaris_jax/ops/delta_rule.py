"""The gated delta rule (Yang, Kautz & Hatamizadeh 2024): a linear-time token mixer with a matrix-valued memory.

Per head, with unit keys ``k``, write strength ``beta`` in (0, 1) and log-decay ``g <= 0``::

    S <- exp(g) S;   S <- S + k (beta (v - S^T k))^T;   o = S^T q

``recurrent_delta_rule`` is that, one token at a time. ``gated_delta_rule`` is the same function chunk by chunk: all
tokens of a chunk are written at once, by one triangular solve. Everything here is float32 at the highest matmul
precision, because the solve amplifies the rounding of its inputs.
"""

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST


def causal_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    segment_ids: jax.Array | None = None,
    state: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Depthwise convolution over the last K tokens, zeros before the document.

    Args:
      x: ``[B, S, C]``; kernel: ``[K, C]``, whose last row weighs the current token.
      segment_ids: ``[B, S] int32``; tokens of another segment count as zeros.
      state: the K-1 inputs before ``x``, ``[B, K-1, C]``; default zeros.
      valid: ``[B] int32`` real tokens per row; default all.

    Returns:
      ``(y [B, S, C], the K-1 inputs up to the last valid token)``.
    """
    B, S, C = x.shape
    K = kernel.shape[0]
    kernel = kernel.astype(x.dtype)
    before = jnp.zeros((B, K - 1, C), x.dtype) if state is None else state.astype(x.dtype)
    row = jnp.concatenate([before, x], axis=1)
    y = jnp.zeros_like(x)
    for lag in range(K):
        past = row[:, K - 1 - lag : K - 1 - lag + S]
        if segment_ids is not None and lag:
            same = jnp.pad(segment_ids, ((0, 0), (lag, 0)), constant_values=-1)[:, :S] == segment_ids
            past = jnp.where(same[..., None], past, 0)
        y = y + past * kernel[K - 1 - lag]
    valid = jnp.full((B,), S, jnp.int32) if valid is None else valid
    last = valid[:, None] + jnp.arange(K - 1)
    return y, jnp.take_along_axis(row, last[..., None], axis=1)


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


def recurrent_delta_rule(q, k, v, *, beta, log_decay, segment_ids=None, initial=None, valid=None):
    """The recurrence, token by token: the reference, and the faster form for a few tokens. As ``gated_delta_rule``."""
    B, S, H, dv = v.shape
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
    return jnp.moveaxis(out, 0, 1), memory


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
    chunk: int = 64,
) -> tuple[jax.Array, jax.Array]:
    """The gated delta rule over a row of tokens in storage order.

    Args:
      q, k: ``[B, S, N, dk]``, normed to unit length here; v: ``[B, S, H, dv]``; value head ``h`` reads key head
        ``h // (H // N)``.
      beta, log_decay: ``[B, S, H]``.
      segment_ids: ``[B, S] int32``, contiguous runs; the memory is empty at the start of each.
      initial: memory before the first token, ``[B, H, dk, dv]``; default zeros.
      valid: ``[B] int32`` real tokens per row; later ones leave the memory unchanged.
      chunk: tokens per chunk; any value gives the same result.

    Returns:
      ``(o [B, S, H, dv] float32, memory after the row [B, H, dk, dv] float32)``.
    """
    S = q.shape[1]
    if S < 8:
        return recurrent_delta_rule(
            q, k, v, beta=beta, log_decay=log_decay, segment_ids=segment_ids, initial=initial, valid=valid
        )
    B, _, H, dv = v.shape
    q, k, v, beta, log_decay = _prepare(q, k, v, beta, log_decay, valid)
    segments = jnp.ones((B, S), jnp.int32) if segment_ids is None else segment_ids
    C = min(chunk, S)
    padding = -S % C
    if padding:
        q, k, v, beta, log_decay = (
            jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2)) for x in (q, k, v, beta, log_decay)
        )
        # Padding continues the last document, so that its memory survives to the end.
        segments = jnp.pad(segments, ((0, 0), (0, padding)), mode="edge")

    def chunks(x):  # [B, S, ...] -> [N, B, C, ...]
        return jnp.moveaxis(x.reshape(B, -1, C, *x.shape[2:]), 1, 0)

    def heads_first(x):  # [B, S, H, ...] -> [N, B, H, C, ...]
        return jnp.swapaxes(chunks(x), 2, 3)

    memory = jnp.zeros((B, H, q.shape[-1], dv)) if initial is None else initial.astype(jnp.float32)
    rows = (*(heads_first(x) for x in (q, k, v, beta, log_decay)), chunks(segments))
    (memory, _), out = jax.lax.scan(_chunk_step, (memory, segments[:, 0]), rows)
    out = jnp.moveaxis(jnp.swapaxes(out, 2, 3), 0, 1).reshape(B, S + padding, H, dv)
    return out[:, :S], memory


def _chunk_step(carry, rows):
    """One chunk for all heads: ``carry`` is the memory ``[B, H, dk, dv]`` and the segment ``[B]`` it belongs to."""
    memory, owner = carry
    q, k, v, beta, log_decay, segments = rows  # [B, H, C, ...], segments [B, C]
    C = segments.shape[1]
    decay_in = jnp.cumsum(log_decay, axis=-1)  # G_i, from the chunk's start through token i
    same = (segments[:, :, None] == segments[:, None, :])[:, None]
    earlier = jnp.tril(jnp.ones((C, C), bool)) & same
    # Masked before the exponential: above the diagonal the difference is positive and would overflow.
    decay = jnp.exp(jnp.where(earlier, decay_in[..., :, None] - decay_in[..., None, :], -jnp.inf))
    from_memory = jnp.where((segments == owner[:, None])[:, None], jnp.exp(decay_in), 0.0)

    # What token i must still learn after the others of its chunk: (I + A) [U | W] = [beta v | beta exp(G) k].
    overlap = jnp.einsum("bhik,bhjk->bhij", k, k, precision=HIGHEST) * decay * beta[..., None]
    system = jnp.tril(overlap, -1) + jnp.eye(C)
    wanted = jnp.concatenate([v, k * from_memory[..., None]], axis=-1) * beta[..., None]
    solved = jax.scipy.linalg.solve_triangular(system, wanted, lower=True, unit_diagonal=True)
    dv = v.shape[-1]
    written = solved[..., :dv] - jnp.einsum("bhik,bhkv->bhiv", solved[..., dv:], memory, precision=HIGHEST)

    scores = jnp.einsum("bhik,bhjk->bhij", q, k, precision=HIGHEST) * decay
    out = jnp.einsum("bhik,bhkv->bhiv", q * from_memory[..., None], memory, precision=HIGHEST)
    out = out + jnp.einsum("bhij,bhjv->bhiv", scores, written, precision=HIGHEST)

    # The last row of ``decay`` is exp(G_C - G_j) for the tokens of the chunk's last segment, zero for the others.
    kept = memory * from_memory[..., -1, None, None]
    memory = kept + jnp.einsum("bhjk,bhjv->bhkv", k * decay[..., -1, :, None], written, precision=HIGHEST)
    return (memory, segments[:, -1]), out
