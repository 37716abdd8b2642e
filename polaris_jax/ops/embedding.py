"""Embedding lookup whose gradient, a sum over every occurrence of a token, is made in float32.

A sum in bfloat16 stops growing once a term is less than half a unit in the last place of what is there already: a
token that comes ten thousand times would lose a third of its gradient.
"""

import functools

import jax
import jax.numpy as jnp


def embedding_lookup(table: jax.Array, tokens: jax.Array, *, sort: bool = False) -> jax.Array:
    """Rows of ``table [V, D]``: ``[...] int32 → [..., D]`` in the table's dtype.

    The gradient of the table is summed in float32 and rounded once, to the table's dtype.

    Args:
      tokens: in ``[0, V)``.
      sort: the gradient's rows are brought into the order of their tokens first. The TPU compiler sorts the indices of
        a scatter anyway; told beforehand, it reads the rows where they are and makes no float32 copy of them
        (``benchmarks/embedding_gradient.py``). For arrays of one device: sorting an array that is spread over a mesh
        would gather it.
    """
    return _lookup(sort, table, tokens)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lookup(sort, table, tokens):
    return table[tokens]


def _forward(sort, table, tokens):
    # An empty array carries the table's shape and dtype: its values are not needed any more.
    return table[tokens], (jnp.empty((0, *table.shape), table.dtype), tokens)


def _backward(sort, saved, dy):
    like, tokens = saved
    flat, rows = tokens.reshape(-1), dy.reshape(-1, dy.shape[-1])
    if sort:
        order = jnp.argsort(flat)
        flat, rows = flat[order], rows[order]
    total = jnp.zeros(like.shape[1:], jnp.float32).at[flat].add(rows.astype(jnp.float32), indices_are_sorted=sort)
    return total.astype(like.dtype), None


_lookup.defvjp(_forward, _backward)
