"""Attention over a sharded row equals plain attention on one device, however keys reach queries."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.ops import attention, context_attention, ring_attention
from polaris_jax.ops.attention import visible
from polaris_jax.sharding import make_mesh


def zigzag(length, shards):
    chunk = length // (2 * shards)
    order = [c for i in range(shards) for c in (i, 2 * shards - 1 - i)]
    return np.concatenate([np.arange(c * chunk, (c + 1) * chunk) for c in order])


def inputs(seed, B, S, H, G, D, documents):
    """Random q, k, v and a packed row: document lengths, then padding (segment 0)."""
    rng = np.random.default_rng(seed)
    q, k, v, cotangent = (jnp.asarray(rng.normal(size=(B, S, n, D)), jnp.float32) for n in (H, G, G, H))
    segments = np.zeros((B, S), np.int32)
    positions = np.zeros((B, S), np.int32)
    start = 0
    for number, length in enumerate(documents, 1):
        segments[:, start : start + length] = number
        positions[:, start : start + length] = np.arange(length)
        start += length
    return q, k, v, cotangent, positions, segments


def run(fn, q, k, v, cotangent, positions, segments, **options):
    metadata = {"q_positions": positions, "kv_positions": positions, "q_segments": segments, "kv_segments": segments}
    out, pull = jax.vjp(lambda q, k, v: fn(q, k, v, **metadata, **options), q, k, v)
    return (out, *pull(cotangent))


def check(length, shards, documents, mesh, *, order=None, atol=2e-5, **options):
    """Compares with ``attention``, which gets only the window of the options."""
    arrays = inputs(shards, 2, length, 6, 2, 8, documents)
    expected = jax.jit(lambda *a: run(attention, *a, window=options.get("window")))(*arrays)
    order = zigzag(length, shards) if order is None else order
    got = jax.jit(lambda *a: run(context_attention, *a, mesh=mesh, **options))(*(x[:, order] for x in arrays))
    for name, want, have in zip(("out", "dq", "dk", "dv"), expected, got, strict=True):
        np.testing.assert_allclose(have, want[:, order], atol=atol, err_msg=name)


@pytest.mark.parametrize(
    ("shards", "documents", "window"),
    [
        (1, (20, 13, 25), 7),
        (2, (20, 13, 25), None),
        (4, (64,), None),
        (4, (64,), 9),
        (4, (20, 13, 25), None),
        (4, (1, 62, 1), 30),
        (8, (20, 13, 25), 7),
    ],
)
def test_equals_attention_forward_and_backward(shards, documents, window):
    check(64, shards, documents, make_mesh({"context": shards}, devices=jax.devices()[:shards]), window=window, block=4)


@pytest.mark.parametrize(
    ("method", "shards", "group", "window"),
    [
        ("two_level", 2, 2, None),
        ("two_level", 4, 2, 9),
        ("two_level", 8, None, None),
        ("all_gather", 4, None, 9),
        ("all_gather", 8, None, None),
    ],
)
def test_other_ways_to_bring_keys_to_queries(method, shards, group, window):
    mesh = make_mesh({"context": shards}, devices=jax.devices()[:shards])
    check(64, shards, (20, 13, 25), mesh, method=method, group=group, window=window, block=4)


@pytest.mark.parametrize("method", ["ring", "two_level", "all_gather"])
def test_the_order_of_tokens_over_shards_is_free(method):
    order = np.random.default_rng(0).permutation(32)
    check(32, 4, (9, 20), make_mesh({"context": 4}, devices=jax.devices()[:4]), order=order, method=method, block=4)


def test_blocks_need_not_divide_the_shard():
    check(60, 2, (30, 25), make_mesh({"context": 2}, devices=jax.devices()[:2]), block=8)


@pytest.mark.parametrize("method", ["ring", "two_level", "all_gather"])
def test_largest_score_of_each_head(method):
    q, k, v, _, positions, segments = inputs(0, 4, 32, 4, 2, 8, (12, 15))
    spread = {"fsdp": 2, "context": 2, "tensor": 1 if method == "two_level" else 2}
    mesh = make_mesh(spread, devices=jax.devices()[: 4 * spread["tensor"]])
    order = zigzag(32, 2)

    def top(q, k, v, positions, segments):
        return context_attention(
            q,
            k,
            v,
            q_positions=positions,
            kv_positions=positions,
            q_segments=segments,
            kv_segments=segments,
            mesh=mesh,
            method=method,
            block=4,
            return_max_logit=True,
        )[1]

    scores = jnp.einsum("bqhd,bkhd->bhqk", q, jnp.repeat(k, 2, axis=2)) * 8**-0.5
    mask = visible(positions, positions, segments, segments)[:, None]
    want = jnp.where(mask, scores, -jnp.inf).max(axis=(0, 2, 3))
    arrays = tuple(x[:, order] for x in (q, k, v, positions, segments))
    np.testing.assert_allclose(jax.jit(top)(*arrays), want, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda q, *rest: top(q, *rest).sum()))(*arrays)
    assert not np.any(gradient)


def test_batch_and_heads_spread_over_the_mesh():
    check(32, 2, (32,), make_mesh({"fsdp": 2, "context": 2, "tensor": 2}), method="ring")


def test_no_buffer_as_large_as_the_score_matrix():
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    S = 2048
    q, k, v, cotangent, positions, segments = inputs(0, 1, S, 2, 1, 4, (S,))
    text = (
        jax.jit(lambda *a: run(ring_attention, *a, mesh=mesh, block=64))
        .lower(q, k, v, cotangent, positions, segments)
        .compile()
        .as_text()
    )
    shapes = {tuple(map(int, dims.split(","))) for dims in re.findall(r"f32\[([\d,]+)\]", text)}
    assert (1, S // 4, 2, 4) in shapes  # a shard's queries are found, so the check below looks at real shapes
    chunk = S // 8
    assert not [shape for shape in shapes if sum(dim >= chunk for dim in shape) > 1]


def test_a_length_that_does_not_divide_names_the_next_that_does():
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    q, k, v, _, positions, segments = inputs(0, 1, 36, 2, 1, 4, (36,))
    metadata = {"q_positions": positions, "kv_positions": positions, "q_segments": segments, "kv_segments": segments}
    with pytest.raises(InputError, match="the next is 40"):
        ring_attention(q, k, v, **metadata, mesh=mesh)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "star"}, "choose one of ring, two_level, all_gather"),
        ({"implementation": "cuda"}, "choose auto"),
        ({"method": "two_level", "group": 3}, "must divide 4 shards and 1 key-value heads"),
    ],
)
def test_a_wrong_choice_is_named(options, message):
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    q, k, v, _, positions, segments = inputs(0, 1, 32, 2, 1, 4, (32,))
    metadata = {"q_positions": positions, "kv_positions": positions, "q_segments": segments, "kv_segments": segments}
    with pytest.raises(InputError, match=message):
        context_attention(q, k, v, **metadata, mesh=mesh, **options)


def program(shards, length, **options):
    """The optimized program of forward and backward, and that of the forward alone."""
    mesh = make_mesh({"context": shards}, devices=jax.devices()[:shards])
    arrays = inputs(0, 1, length, 2, 1, 4, (length,))
    both = jax.jit(lambda *a: run(ring_attention, *a, mesh=mesh, **options))
    forward = jax.jit(lambda *a: run(ring_attention, *a, mesh=mesh, **options)[0])
    return both.lower(*arrays), forward.lower(*arrays)


def test_the_program_does_not_grow_with_the_ring():
    """One transfer per hop: of keys in the forward, of keys and of their gradients in the backward."""
    sizes = {}
    for shards in (4, 8):
        both, forward = (lowered.as_text() for lowered in program(shards, 64, block=8))
        # Forward: the loop's. Backward: of keys before and in the loop; of gradients in it, for the last hop, and home.
        assert forward.count("stablehlo.collective_permute") == 1
        assert both.count("stablehlo.collective_permute") == 1 + 2 + 3
        sizes[shards] = len(both.splitlines())
    assert sizes[8] <= 1.02 * sizes[4]
