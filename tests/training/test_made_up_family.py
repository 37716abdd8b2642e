"""A family with scaled embeddings, a soft cap and four norms per block needs code in ``models/`` alone.

No family of the package has all three, so this one is made up. Its numbers are computed here from the definitions
(Gemma 2, arXiv 2408.00118); the plain forward pass, the cached one, and loss and gradients of the training program on a
mesh must agree with them.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import polaris_jax
from polaris_jax.models import ModelConfig, cached_forward, hidden, init_cache, init_params, logits, unembed
from polaris_jax.models import config as model_config
from polaris_jax.sharding import make_mesh
from polaris_jax.training import default_config, train_config
from polaris_jax.training.step import loss_and_gradients, make_loss, supervised

FEATURES = ("scaled_embedding", "output_norms", "logit_soft_cap")
SHAPE = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_theta": 1e4,
}
ROWS, LENGTH, CAP = 2, 64, 0.1


@pytest.fixture
def made_up(monkeypatch):
    """Config and parameters whose gains are not all one."""
    family = model_config.Family("MadeUpForCausalLM", scaled_embedding=True, output_norms=True, default_theta=1e4)
    monkeypatch.setitem(model_config.FAMILIES, "made_up", family)
    config = dataclasses.replace(ModelConfig.from_hf(SHAPE), model_type="made_up", logit_soft_cap=CAP)
    params = init_params(config, jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return config, jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.3 * jax.random.normal(next(keys), x.shape) if "scale" in str(path) else x, params
    )


def batch_of_two_documents():
    r = np.random.default_rng(0)
    tokens = r.integers(0, SHAPE["vocab_size"], (ROWS, LENGTH)).astype(np.int32)
    segments = np.repeat([[1, 2]], LENGTH // 2, axis=1).repeat(ROWS, axis=0).astype(np.int32)
    zeros = np.zeros((ROWS, LENGTH), np.int32)
    return {
        "tokens": tokens,
        "targets": np.roll(tokens, -1, axis=1),
        "weights": np.ones((ROWS, LENGTH), np.float32),
        "roles": zeros,
        "kinds": zeros,
        "segment_ids": segments,
        "positions": np.tile(np.arange(LENGTH // 2, dtype=np.int32), (ROWS, 2)),
    }


def written_out(config, params, batch):
    """Logits ``[B, S, V]`` from the definitions, one layer after the other, with whole matrices of scores."""

    def rms(x, scale):
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps) * scale

    def rotated(x, positions):
        angles = positions[..., None, None] * 1e4 ** (-jnp.arange(0, config.head_dim, 2) / config.head_dim)
        a, b = jnp.split(x, 2, axis=-1)
        return jnp.concatenate(
            [a * jnp.cos(angles) - b * jnp.sin(angles), b * jnp.cos(angles) + a * jnp.sin(angles)], axis=-1
        )

    positions, segments = batch["positions"], batch["segment_ids"]
    seen = (positions[:, :, None] >= positions[:, None]) & (segments[:, :, None] == segments[:, None])
    table = params["embed"]["embedding"]
    x = table[batch["tokens"]] * np.sqrt(config.hidden_size)
    for layer in range(config.num_layers):
        w = jax.tree.map(lambda leaf, at=layer: leaf[at], params["blocks"]["0"])
        u = rms(x, w["norm_in"]["scale"])
        q, k, v = (
            (u @ w["attention"][name]).reshape(ROWS, LENGTH, heads, config.head_dim)
            for name, heads in (("q", 4), ("k", 2), ("v", 2))
        )
        q, k = rotated(q, positions), rotated(k, positions)
        k, v = (jnp.repeat(part, 2, axis=2) for part in (k, v))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(config.head_dim)
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf), axis=-1)
        out = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(ROWS, LENGTH, -1) @ w["attention"]["o"]
        x = x + rms(out, w["norm_mixed"]["scale"])
        u = rms(x, w["norm_post"]["scale"])
        out = (jax.nn.silu(u @ w["mlp"]["gate"]) * (u @ w["mlp"]["up"])) @ w["mlp"]["down"]
        x = x + rms(out, w["norm_mlp"]["scale"])
    return CAP * jnp.tanh(rms(x, params["norm"]["scale"]) @ table.T / CAP)


def assert_close(got, want):
    """Some twenty products of up to a hundred terms in a row, each in another order: 2,000 roundings of 2^-24."""
    for (path, have), expected in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        bound = 2000 * 2.0**-24 * float(jnp.abs(expected).max())
        np.testing.assert_allclose(have, expected, rtol=0, atol=bound, err_msg=jax.tree_util.keystr(path))


def test_the_plain_and_the_cached_forward_pass_compute_it(made_up):
    config, params = made_up
    batch = batch_of_two_documents()
    want = written_out(config, params, batch)
    assert float(jnp.abs(want).max()) > 0.9 * CAP  # the cap has an effect
    got = logits(params, config, batch["tokens"], batch["positions"], batch["segment_ids"])
    assert_close(got, want)
    first = batch["tokens"][:, : LENGTH // 2]  # the first document, read in two chunks
    cache = init_cache(config, ROWS, LENGTH // 2)
    parts = []
    for part in np.split(first, [20], axis=1):
        x, cache = cached_forward(params, config, part, cache)
        parts.append(unembed(params, config, x))
    assert_close(jnp.concatenate(parts, axis=1), want[:, : LENGTH // 2])


@pytest.mark.parametrize("remat", ["full", "none"])
def test_loss_and_gradients_on_a_mesh_compute_it(made_up, remat):
    config, params = made_up
    batch = batch_of_two_documents()

    def plain(params):
        scores = jax.nn.log_softmax(written_out(config, params, batch))
        return -jnp.take_along_axis(scores, batch["targets"][..., None], axis=-1).mean()

    want, wanted = jax.value_and_grad(plain)(params)
    mesh = make_mesh({"fsdp": 2, "context": 2}, devices=jax.devices()[:4])
    fields = default_config()
    fields.model.update({"remat": remat, "compute_dtype": "float32", "attention_block": 16})
    fields.model.path = "unread"
    fields.loss.chunk = 16
    run = train_config(fields, data=False)
    make = loss_and_gradients if remat == "full" else plain_value_and_grad
    program = make(run, config, mesh, supervised(run))
    (loss, _), gradients = jax.jit(program)(params, batch, batch["weights"].sum())
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    assert_close(gradients, wanted)


def plain_value_and_grad(run, config, mesh, objective):
    return jax.value_and_grad(make_loss(run, config, mesh, objective), has_aux=True)


def test_hidden_is_not_capped(made_up):
    config, params = made_up
    uncapped = dataclasses.replace(config, logit_soft_cap=0.0)
    x = hidden(params, config, batch_of_two_documents()["tokens"])
    assert float(jnp.abs(unembed(params, uncapped, x)).max()) > CAP


def test_no_room_but_models_knows_of_these_features():
    package = Path(polaris_jax.__file__).parent
    readers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(feature in path.read_text(encoding="utf-8") for feature in FEATURES)
    }
    assert readers == {"models/config.py", "models/decoder.py", "models/weights.py"}
