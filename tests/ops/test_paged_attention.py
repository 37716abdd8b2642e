"""Rows whose slots lie in pages: the bits of rows that have their slots in a run, whatever the order of the pages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances

from polaris_jax.ops.cached_attention import (
    BLOCK,
    WriteIndex,
    attention_over,
    cached_attention,
    cached_attention_reference,
    quantise,
)
from polaris_jax.ops.decode_attention_tpu import fits
from polaris_jax.sharding import make_mesh

N, B, G, H, M = 2, 4, 2, 4, 3


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def cache_of(dtype, width):
    """A cache with numbers in every slot, and the same one in pages: ``(rows, pool, pages [B, M])``."""
    rows = {name: jnp.asarray(3 * normal(i, N, B, G, M * BLOCK, width)) for i, name in enumerate("kv")}
    if dtype == jnp.int8:
        (k, k_scale), (v, v_scale) = quantise(rows["k"]), quantise(rows["v"])
        rows = {"k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}
    pages = 1 + np.random.default_rng(5).permutation(B * M).reshape(B, M).astype(np.int32)
    return rows, in_pages(rows, pages), jnp.asarray(pages)


def in_pages(rows, pages):
    pool = {}
    for name, x in rows.items():
        blocks = np.asarray(x).reshape(N, B, G, M, BLOCK, *x.shape[4:]).swapaxes(2, 3)
        pool[name] = np.zeros((N, 1 + B * M, *blocks.shape[3:]), x.dtype)
        pool[name][:, pages] = blocks
    return {name: jnp.asarray(x) for name, x in pool.items()}


def new_tokens(n, T, width):
    return tuple(jnp.asarray(normal(7 + i, n, T, heads, width)) for i, heads in enumerate((H, G, G)))


@pytest.mark.parametrize("window", [None, 700])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int8])
@pytest.mark.parametrize("row", [None, 2])
@pytest.mark.parametrize("T", [1, 9, 600])
def test_pages_in_any_order_give_the_bits_of_a_run(T, row, dtype, window):
    """Writes that begin, end or lie at the edge of a page, or in three of them; a row that reads nothing."""
    rows, pool, pages = cache_of(dtype, 8)
    start, valid = jnp.asarray([3, BLOCK - 1, BLOCK - 5, 700]), jnp.asarray([T, T, T, 0])
    chosen = None
    here = pages
    if row is not None:
        start, valid, chosen, here = (
            start[row : row + 1],
            valid[row : row + 1],
            jnp.asarray([row]),
            pages[row : row + 1],
        )
    given = new_tokens(len(start), T, 8)
    attend = jax.jit(cached_attention, static_argnames="window")
    run = WriteIndex(1, start, valid, chosen)
    want, wanted = attend(*given, rows, run, window=window)
    got, kept = attend(*given, pool, run._replace(pages=here), window=window)
    wanted = in_pages(wanted, np.asarray(pages))
    for name in pool:
        np.testing.assert_array_equal(kept[name], wanted[name])
    for b, real in enumerate(valid):
        np.testing.assert_array_equal(got[b, :real], want[b, :real])
    plain, also = cached_attention_reference(*given, pool, run._replace(pages=here, rows=None), window=window)
    for name in pool:
        np.testing.assert_array_equal(kept[name], also[name])
    for b, real in enumerate(valid):
        np.testing.assert_allclose(got[b, :real], plain[b, :real], atol=2e-5)


def test_a_write_beyond_the_last_page_is_dropped():
    _, pool, pages = cache_of(jnp.float32, 8)
    given = new_tokens(B, 9, 8)
    index = WriteIndex(0, jnp.full(B, M * BLOCK - 4), jnp.full(B, 9), None, pages)
    _, kept = cached_attention(*given, pool, index)
    for name in pool:
        changed = np.argwhere((np.asarray(kept[name]) != np.asarray(pool[name])).any(axis=(0, 2, 4)))
        assert {tuple(pair) for pair in changed} == {
            (int(page), slot) for page in pages[:, -1] for slot in range(BLOCK - 4, BLOCK)
        }


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("window", [None, 1, 700])
def test_the_kernels_read_pages_by_their_table(window, dtype):
    width = 128
    _, pool, pages = cache_of(jnp.float32, width)
    pool = {name: x.astype(dtype) for name, x in pool.items()}
    q, k, v = (x.astype(dtype) for x in new_tokens(B, 1, width))
    # The third row shares its first page with the second one, and reads nothing.
    pages = pages.at[2, 0].set(pages[1, 0])
    index = WriteIndex(
        1, jnp.asarray([0, BLOCK + 15, BLOCK // 2, M * BLOCK - 1]), jnp.asarray([1, 1, 0, 1]), None, pages
    )
    assert fits(q, pool, index)
    got, kept = jax.jit(attention_over(None, B, G, "pallas_interpret"), static_argnames="window")(
        q, k, v, pool, index, window=window
    )
    want, wanted = cached_attention_reference(q, k, v, pool, index, window=window)
    for name in pool:
        np.testing.assert_array_equal(kept[name], wanted[name])
    # In bfloat16 weights are rounded before their sum, against another maximum, and the result is rounded.
    near = {"rtol": 0, "atol": 48 * tolerances.sums(M * BLOCK, in_a_row=3)}
    near = near if dtype == jnp.float32 else {"rtol": 2.0**-7, "atol": 3 * 2.0**-7}
    for b in (0, 1, 3):
        np.testing.assert_allclose(*(x[b].astype(jnp.float32) for x in (got, want)), **near, err_msg=str(b))


def test_heads_of_pages_are_spread_over_tensor():
    mesh = make_mesh({"tensor": 2}, devices=jax.devices()[:2])
    _, pool, pages = cache_of(jnp.int8, 8)
    given = new_tokens(B, 5, 8)
    index = WriteIndex(1, jnp.asarray([3, BLOCK - 2, 700, 0]), jnp.asarray([5, 4, 5, 0]), None, pages)
    want, wanted = jax.jit(cached_attention)(*given, pool, index)
    got, kept = jax.jit(attention_over(mesh, B, G))(*given, pool, index)
    for name in pool:
        np.testing.assert_array_equal(kept[name], wanted[name])
    np.testing.assert_allclose(got[:3, :4], want[:3, :4], atol=2e-5)
