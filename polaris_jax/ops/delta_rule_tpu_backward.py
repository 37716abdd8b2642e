"""The backward TPU kernel of the gated delta rule: chunks from the last to the first, gradients of the memory in VMEM.

The forward kernel leaves the memory before each chunk and the chunk's inverse; the rest is computed again. Gradients
of keys and queries are first taken with their lengths held fixed, and corrected for that at the end.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from polaris_jax.ops.delta_rule_tpu_parts import (
    COMPILER_PARAMS,
    Columns,
    Shape,
    StepBlocks,
    decays,
    dot,
    dot_nt,
    dot_tn,
    key_head,
    masks,
    row_sums,
)


def _kernel(
    q, k, v, columns, rows, states, inverse, do, dfinal, dq, dk, dv, dcolumns, drows, dinitial, dmemory, *, shape
):
    C = shape.chunk

    @pl.when(pl.program_id(2) == 0)
    def _():
        dmemory[...] = dfinal[0]

    token = Columns(columns[0, 0], shape.values)
    seen = masks(token.document, rows[0, 0, 0, shape.values :])
    last = jax.lax.broadcasted_iota(jnp.int32, (1, C), 1) == C - 1
    ddecay, dbeta = [], []
    for n in range(shape.keys):
        head = key_head(q[0, :, shape.key(n)], k[0, :, shape.key(n)], seen.itself)
        overlap = jnp.where(seen.before, head.overlap, 0.0)
        state, after = states[0, 0, n], dmemory[n].astype(jnp.bfloat16)
        read = dot(head.both, state)  # [2C, R dv], what queries and keys find in the memory
        dadded = dot(head.both[C:], after)  # [C, R dv]
        # Stage by stage over the value heads, so that one's products run while another's wait for theirs.
        values = shape.heads(n)
        at = {h: shape.value(r) for r, h in enumerate(values)}
        beta = {h: token.beta(h) for h in values}
        leave = {h: token.leave(h) * head.k_scale for h in values}
        enter_q = {h: token.enter(h) * head.q_scale for h in values}
        enter_k = {h: token.enter(h) * head.k_scale for h in values}
        decay = {h: decays(token.decay(h), rows[0, 0, 0, h : h + 1], seen.upto) for h in values}
        error = {h: v[0, :, shape.value(h)].astype(jnp.float32) - enter_k[h] * read[C:, at[h]] for h in values}
        new = {h: dot(inverse[0, 0, h], beta[h] * error[h]) for h in values}
        dout = {h: do[0, :, shape.value(h)] for h in values}
        dnew = {h: dot_tn(head.scores * decay[h], dout[h]) + leave[h] * dadded[:, at[h]] for h in values}
        dwanted = {h: dot_tn(inverse[0, 0, h], dnew[h]) for h in values}
        both = {h: dot_nt(jnp.concatenate([dout[h], dwanted[h].astype(jnp.bfloat16)], axis=0), new[h]) for h in values}
        dread_q, dread_k, written = [], [], []
        dscores, doverlap = jnp.zeros((C, C), jnp.float32), jnp.zeros((C, C), jnp.float32)
        for h in values:
            dhere, dsystem = both[h][:C] * decay[h], both[h][C:] * decay[h]
            dv[0, :, shape.value(h)] = (beta[h] * dwanted[h]).astype(dv.dtype)
            shared = dsystem * overlap  # the system is minus beta times overlap times decay
            dbeta.append(row_sums(dwanted[h] * error[h]) - row_sums(shared))
            dscores, doverlap = dscores + dhere, doverlap - beta[h] * dsystem
            dread_q.append(enter_q[h] * dout[h].astype(jnp.float32))
            dread_k.append((-beta[h] * enter_k[h]) * dwanted[h])
            written.append(leave[h] * new[h])
            # Every exponent is a difference of two decays: it gives to one what it takes from the other.
            between = dhere * head.scores - beta[h] * shared
            out_of = written[-1] * dadded[:, at[h]]
            into = dread_q[-1] * read[:C, at[h]] + dread_k[-1] * read[C:, at[h]]
            ddecay.append(row_sums(between) + row_sums(into - out_of))
            kept = token.enter(h)[C - 1 :] * dmemory[n, :, at[h]] * state[:, at[h]].astype(jnp.float32)
            total = row_sums(jnp.sum(out_of, axis=0, keepdims=True) + jnp.sum(kept, axis=0, keepdims=True))
            drows[0, 0, 0, h : h + 1] = jnp.where(last, total, 0.0) - jnp.sum(between, axis=0, keepdims=True)
        dread = jnp.concatenate([_side_by_side(dread_q), _side_by_side(dread_k)], axis=0)  # [2C, R dv]
        direct = dot_nt(dread, state)
        dstate = dot_tn(head.both, dread)
        for h in values:
            dmemory[n, :, at[h]] = token.enter(h)[C - 1 :] * dmemory[n, :, at[h]] + dstate[:, at[h]]
        dscores = dscores * (head.q_scale * head.k_row)
        doverlap = jnp.where(seen.before, doverlap * (head.k_scale * head.k_row), 0.0)
        pairs = jnp.concatenate([dscores, doverlap], axis=0).astype(jnp.bfloat16)  # [2C, C]
        rowwise = dot(pairs, head.both[C:])
        dqueries = rowwise[:C] + direct[:C]
        dkeys = rowwise[C:] + direct[C:] + dot_tn(pairs, head.both) + dot_nt(_side_by_side(written), after)
        wide_q, wide_k = head.both[:C].astype(jnp.float32), head.both[C:].astype(jnp.float32)
        q_length = head.q_scale * head.q_scale * shape.key_dim  # one over the squared length
        dqueries -= wide_q * (q_length * row_sums(wide_q * dqueries))
        dkeys -= wide_k * (head.k_scale * head.k_scale * row_sums(wide_k * dkeys))
        dq[0, :, shape.key(n)] = dqueries.astype(dq.dtype)
        dk[0, :, shape.key(n)] = dkeys.astype(dk.dtype)
    dcolumns[0, 0] = jnp.concatenate([*ddecay, *dbeta], axis=1)

    @pl.when(pl.program_id(2) == shape.chunks - 1)
    def _():
        dinitial[0] = dmemory[...]


def _side_by_side(parts: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([x.astype(jnp.bfloat16) for x in parts], axis=1)


def backward_kernel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    columns: jax.Array,
    rows: jax.Array,
    states: jax.Array,
    inverse: jax.Array,
    do: jax.Array,
    dfinal: jax.Array,
    *,
    shape: Shape,
    interpret: Any = False,
) -> tuple[jax.Array, ...]:
    """One call for all rows and heads; arguments as those and the results of ``forward_kernel``, ``do`` in bfloat16.

    Returns:
      ``(dq, dk, dv, dcolumns, drows, dinitial)``: the first three bfloat16; ``dcolumns [B, N / keys, S, 2 values]``
      has the gradients of the natural logarithms of the decays and those of beta, ``drows [B, N / keys, chunks,
      values, C]`` what is to be added to the former; both float32, as ``dinitial``.
    """
    B, N = dfinal.shape[:2]
    C, wide = shape.chunk, shape.group * shape.value_dim
    blocks = StepBlocks(shape, backward=True)
    groups = N // shape.keys
    per_head = (B, groups, shape.chunks, shape.values, C)
    tokens = B * shape.chunks * C
    return pl.pallas_call(
        functools.partial(_kernel, shape=shape),
        grid=(B, groups, shape.chunks),
        in_specs=[
            *blocks.inputs(columns, rows),
            blocks.kept_memory,
            blocks.kept_inverse,
            blocks.value,
            blocks.memory,
        ],
        out_specs=[
            blocks.key,
            blocks.key,
            blocks.value,
            blocks.column(2 * shape.values),
            blocks.row(shape.values),
            blocks.memory,
        ],
        out_shape=[
            jax.ShapeDtypeStruct(q.shape, jnp.bfloat16),
            jax.ShapeDtypeStruct(k.shape, jnp.bfloat16),
            jax.ShapeDtypeStruct(v.shape, jnp.bfloat16),
            jax.ShapeDtypeStruct((*columns.shape[:3], 2 * shape.values), jnp.float32),
            jax.ShapeDtypeStruct(per_head, jnp.float32),
            jax.ShapeDtypeStruct(dfinal.shape, jnp.float32),
        ],
        scratch_shapes=blocks.scratch,
        compiler_params=COMPILER_PARAMS,
        cost_estimate=pl.CostEstimate(
            flops=2 * tokens * N * (7 * shape.key_dim * wide + C * (6 * shape.key_dim + 5 * wide)),
            transcendentals=tokens * N * shape.group * C,
            bytes_accessed=2 * (q.nbytes + k.nbytes) + 3 * v.nbytes + states.nbytes + inverse.nbytes,
        ),
        interpret=interpret,
        name="delta_rule_backward",
    )(q, k, v, columns, rows, states, inverse, do, dfinal)
