"""The forward TPU kernel of the gated delta rule: one chunk of some heads a grid step, their memories in VMEM.

With the notation of ``delta_rule``, what the tokens of a chunk write is ``new = (I - X)⁻¹ beta (v - enter k S)`` where
``X`` is minus beta, overlap and decay between tokens; then ``o = enter q S + P new`` and ``S' = end S + (leave k)ᵀ
new``. Value heads that share a key head lie side by side, so that one product serves them all.
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
    dot_tn,
    inverses,
    key_head,
    masks,
)


def _kernel(q, k, v, columns, rows, initial, o, final, *refs, shape: Shape):
    *kept, memory = refs
    C, R = shape.chunk, shape.group

    @pl.when(pl.program_id(2) == 0)
    def _():
        memory[...] = initial[0]

    token = Columns(columns[0, 0], shape.values)
    seen = masks(token.document, rows[0, 0, 0, shape.values :])
    # Stage by stage over all heads, so that one head's products run while another's wait for theirs.
    keys, values = range(shape.keys), range(shape.values)
    head = {n: key_head(q[0, :, shape.key(n)], k[0, :, shape.key(n)], seen.itself) for n in keys}
    decay = {h: decays(token.decay(h), rows[0, 0, 0, h : h + 1], seen.upto) for h in values}
    overlap = {n: jnp.where(seen.before, head[n].overlap, 0.0) for n in keys}
    systems = [overlap[h // R] * decay[h] * -token.beta(h) for h in values]
    solved = [inverse.astype(jnp.bfloat16) for inverse in inverses(systems)]
    scores = {h: (head[h // R].scores * decay[h]).astype(jnp.bfloat16) for h in values}
    before = {n: memory[n].astype(jnp.bfloat16) for n in keys}
    read = {n: dot(head[n].both, before[n]) for n in keys}  # [2C, R dv], found by queries and by keys
    if kept:
        states, inverse = kept
        for n in keys:
            states[0, 0, n] = before[n]
        for h in values:
            inverse[0, 0, h] = solved[h]
    at = {h: shape.value(h % R) for h in values}
    expected = {h: (token.enter(h) * head[h // R].k_scale) * read[h // R][C:, at[h]] for h in values}
    new = {
        h: dot(solved[h], token.beta(h) * (v[0, :, shape.value(h)].astype(jnp.float32) - expected[h])) for h in values
    }
    for h in values:
        found = (token.enter(h) * head[h // R].q_scale) * read[h // R][:C, at[h]]
        o[0, :, shape.value(h)] = (found + dot(scores[h], new[h])).astype(o.dtype)
    written = {h: ((token.leave(h) * head[h // R].k_scale) * new[h]).astype(jnp.bfloat16) for h in values}
    for n in keys:
        added = dot_tn(head[n].both[C:], jnp.concatenate([written[h] for h in shape.heads(n)], axis=1))
        for h in shape.heads(n):
            memory[n, :, at[h]] = token.enter(h)[C - 1 :] * memory[n, :, at[h]] + added[:, at[h]]

    @pl.when(pl.program_id(2) == shape.chunks - 1)
    def _():
        final[0] = memory[...]


def forward_kernel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    columns: jax.Array,
    rows: jax.Array,
    initial: jax.Array,
    *,
    shape: Shape,
    keep: bool,
    interpret: Any = False,
) -> tuple[jax.Array, ...]:
    """One call for all rows and heads.

    Args:
      q, k: ``[B, S, N dk] bfloat16``; v: ``[B, S, N R dv] bfloat16``.
      columns: ``[B, N / keys, S, 4 values + 1] float32``, see ``Columns``; rows: ``[B, N / keys, chunks, values + 1,
        C] float32``, the decays and last the documents.
      initial: ``[B, N, dk, R dv] float32``.
      keep: also return what the backward kernel reads.

    Returns:
      ``(o [B, S, N R dv] bfloat16, final memory)`` and, if kept, the memory before every chunk ``[B, chunks, N, dk,
      R dv] bfloat16`` and the inverses ``[B, chunks, N R, C, C] bfloat16``.
    """
    B, N = initial.shape[:2]
    C, dk, wide = shape.chunk, shape.key_dim, shape.group * shape.value_dim
    blocks = StepBlocks(shape)
    out_specs = [blocks.value, blocks.memory]
    out_shape = [jax.ShapeDtypeStruct(v.shape, jnp.bfloat16), jax.ShapeDtypeStruct(initial.shape, jnp.float32)]
    if keep:
        out_specs += [blocks.kept_memory, blocks.kept_inverse]
        out_shape += [
            jax.ShapeDtypeStruct((B, shape.chunks, N, dk, wide), jnp.bfloat16),
            jax.ShapeDtypeStruct((B, shape.chunks, N * shape.group, C, C), jnp.bfloat16),
        ]
    tokens = B * shape.chunks * C
    return pl.pallas_call(
        functools.partial(_kernel, shape=shape),
        grid=(B, N // shape.keys, shape.chunks),
        in_specs=[*blocks.inputs(columns, rows), blocks.memory],
        out_specs=out_specs,
        out_shape=out_shape,
        scratch_shapes=blocks.scratch,
        compiler_params=COMPILER_PARAMS,
        cost_estimate=pl.CostEstimate(
            flops=2 * tokens * N * (3 * dk * wide + C * (2 * dk + shape.group * (2 * shape.value_dim + 12 * C))),
            transcendentals=tokens * N * shape.group * C,
            bytes_accessed=q.nbytes + k.nbytes + 2 * v.nbytes + sum(s.size * s.dtype.itemsize for s in out_shape[2:]),
        ),
        interpret=interpret,
        name="delta_rule_forward",
    )(q, k, v, columns, rows, initial)
