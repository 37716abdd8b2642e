"""The forward pass and the cache, judged by their logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from flax import nnx

from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, cached_forward, head_kernel, hidden, init_cache, init_params, unembed, unstack
from polaris_jax.models.weights import abstract_params, param_shardings
from polaris_jax.sharding import make_mesh

from .conftest import few_families, run, tiny, weights

LENGTH = 37


@pytest.fixture(name="params")
def _params(config):
    return weights(config)


def rows(config, B=2, S=LENGTH):
    return jax.random.randint(jax.random.key(1), (B, S), 0, config.vocab_size)


def test_packed_documents_equal_each_alone(config, params):
    tokens = rows(config)
    segments = jnp.asarray([[1] * 11 + [2] * 20 + [0] * 6] * 2)
    packed = run(params, config, tokens, None, segments)
    alone = jnp.concatenate([run(params, config, tokens[:, :11]), run(params, config, tokens[:, 11:31])], axis=1)
    np.testing.assert_allclose(packed[:, :31], alone, atol=2e-3)
    assert bool(jnp.isfinite(packed).all())


@few_families
def test_later_tokens_change_nothing_before_them(config, params):
    tokens = rows(config)
    changed = tokens.at[:, 20].add(1)
    before, after = (np.asarray(run(params, config, t % config.vocab_size)) for t in (tokens, changed))
    np.testing.assert_allclose(before[:, :20], after[:, :20], atol=1e-5)
    assert np.abs(before[:, 20:] - after[:, 20:]).max() > 1e-2


@pytest.mark.parametrize("unstacked", [False, True])
def test_reading_on_equals_reading_at_once(config, params, unstacked):
    """Padded chunks of uneven rows, then single tokens, through a donated cache."""
    tokens = rows(config)
    whole = np.asarray(run(params, config, tokens))
    held = unstack(params) if unstacked else params
    step = jax.jit(lambda w, t, c, v: cached_forward(w, config, t, c, v), donate_argnums=2)
    cache = init_cache(config, 2, 48, unstacked=unstacked)
    lengths = np.zeros(2, int)
    for width, valid in [(16, (16, 9)), (16, (3, 16)), (16, (0, 2)), (1, (1, 1)), (1, (1, 1)), (1, (0, 1))]:
        chunk = np.zeros((2, width), np.int32)
        for row, (start, count) in enumerate(zip(lengths, valid, strict=True)):
            chunk[row, :count] = tokens[row, start : start + count]
        x, cache = step(held, jnp.asarray(chunk), cache, jnp.asarray(valid))
        got = unembed(params, config, x)
        for row, (start, count) in enumerate(zip(lengths, valid, strict=True)):
            np.testing.assert_allclose(got[row, :count], whole[row, start : start + count], atol=2e-3)
        lengths += valid
    np.testing.assert_array_equal(cache["length"], lengths)


def test_a_full_cache_keeps_what_it_holds():
    config = tiny("llama")
    params = weights(config)
    tokens = rows(config, S=12)
    _, cache = cached_forward(params, config, tokens[:, :6], init_cache(config, 2, 8))
    _, overfull = cached_forward(params, config, tokens[:, 6:], cache)
    np.testing.assert_array_equal(overfull["blocks"]["0"]["k"][..., :6, :], cache["blocks"]["0"]["k"][..., :6, :])


@pytest.mark.parametrize("remat", [pytest.param("full", marks=pytest.mark.slow), "attention", "dots"])
def test_recomputation_changes_no_gradient(remat):
    config = tiny("qwen3_5_text")
    params = weights(config)
    tokens = rows(config, S=12)

    def loss(params, remat):
        return jnp.sum(jnp.sin(hidden(params, config, tokens, remat=remat)))

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    want, got = (gradient(params, r) for r in ("none", remat))
    moved = gradient(tolerances.last_bits_moved(params), "none")
    for ours, theirs, near in zip(*map(jax.tree.leaves, (got, want, moved)), strict=True):
        # Rounding elsewhere moves a gradient as much as moving the last bits of its weights does.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=8 * np.abs(near - theirs).max())


def test_dots_multiplies_nothing_twice():
    """The compiled backward pass repeats no product of weights of the forward pass."""
    config = tiny("llama")
    params, tokens = weights(config), rows(config)

    def again(remat):
        compiled = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(hidden(params, config, tokens, remat=remat)))))
        return compiled.lower(params).compile().as_text().count("rematted_computation/dot_general")

    assert again("dots") == 0
    assert again("attention") > 0  # such products are counted


def test_unknown_remat_names_the_choices():
    config = tiny("llama")
    with pytest.raises(InputError, match="none, full, attention, dots"):
        hidden(weights(config), config, rows(config), remat="some")


@few_families
def test_float32_masters_compute_in_bfloat16(config, params):
    x = hidden(params, config, rows(config), compute_dtype=jnp.bfloat16)
    assert x.dtype == jnp.bfloat16
    want = hidden(params, config, rows(config))
    assert float(jnp.linalg.norm(x.astype(jnp.float32) - want) / jnp.linalg.norm(want)) < 0.12


def test_the_attention_seam_sees_positions_segments_and_window(config, params):
    seen = []

    def attend(q, k, v, **who):
        seen.append((who["window"], q.shape, k.shape, who["q_positions"].shape, who["kv_segments"].shape))
        return jnp.zeros_like(q)

    hidden(params, config, rows(config), attend=attend)
    assert len(seen) == sum(kind != "linear_attention" for kind in config.group)
    assert {entry[0] for entry in seen} == {config.sliding_window if "sliding_attention" in config.group else None}


def test_constrain_meets_the_residual_stream():
    config = tiny("llama")
    shapes = []
    hidden(weights(config), config, rows(config), constrain=lambda x: shapes.append(x.shape) or x)
    assert shapes == [(2, LENGTH, config.hidden_size)] * 2  # the embedding, and the one traced block


@few_families
def test_module_is_the_pure_functions(config, params):
    model = Decoder(config, params)
    tokens = rows(config)
    np.testing.assert_allclose(model(tokens), run(params, config, tokens), atol=1e-5)
    assert model(tokens).dtype == jnp.float32
    np.testing.assert_array_equal(model.head(), head_kernel(params, config))
    x, _ = model.extend(tokens, model.init_cache(2, LENGTH))
    np.testing.assert_allclose(x, model.hidden(tokens), atol=2e-3)
    graph, state = nnx.split(model)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(params))
    np.testing.assert_allclose(nnx.merge(graph, state)(tokens), model(tokens), atol=1e-6)


def test_numpy_and_nested_list_tokens_work():
    config = tiny("llama")
    model = Decoder(config, weights(config))
    assert model(np.asarray([[1, 2, 3]])).shape == model([[1, 2, 3]]).shape == (1, 3, config.vocab_size)


@few_families
def test_declared_shapes_dtypes_and_shardings_hold(config):
    mesh = make_mesh({"fsdp": 2, "tensor": 2}, devices=jax.devices()[:4])
    params = init_params(config, jax.random.key(0), jnp.bfloat16, mesh)
    abstract = abstract_params(config, jnp.bfloat16, mesh)
    for made, told in zip(jax.tree.leaves(params), jax.tree.leaves(abstract), strict=True):
        assert (made.shape, made.dtype) == (told.shape, told.dtype)
        assert made.sharding.is_equivalent_to(told.sharding, made.ndim)
    assert jax.tree.structure(param_shardings(config, mesh)) == jax.tree.structure(params)
    if "linear_attention" in config.group:
        assert params["blocks"]["0"]["linear_attention"]["A_log"].dtype == jnp.float32
    big = params["blocks"]["0"]["mlp"]["gate"]
    assert big.addressable_shards[0].data.size * 4 == big.size


@few_families
def test_initial_values_do_not_depend_on_where_they_are_made(config):
    mesh = make_mesh({"fsdp": 2, "tensor": 2}, devices=jax.devices()[:4])
    spread, single = init_params(config, jax.random.key(3), mesh=mesh), init_params(config, jax.random.key(3))
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
