"""A Llama decoder, its loss and its gradients in float64: written out plainly, sharing nothing with the package.

For judging gradients made in bfloat16: rows are cut into documents first, so that attention is a causal triangle.
"""

import jax
import jax.numpy as jnp
import numpy as np


def gradients(config, params, documents, targets, weights):
    """``(loss, gradients)`` as float64 NumPy arrays.

    Args:
      config: a ``ModelConfig`` of the Llama family. params: its tree, values of any dtype.
      documents, targets: ``[N, T] int``. weights: ``[N, T]``; the loss is their weighted mean.
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda p: jnp.asarray(np.asarray(p).astype(np.float64)), params)
        arrays = (jnp.asarray(documents), jnp.asarray(targets), jnp.asarray(weights, np.float64))
        found = jax.jit(jax.value_and_grad(lambda p: _loss(config, p, *arrays)))(wide)
        return jax.tree.map(np.asarray, found)


def _norm(x, scale, eps):
    return x / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * scale


def _rotated(x, theta):
    """``x [N, T, H, d]``: the two halves of a head turn by ``position * theta ** (-2i / d)``."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None, None] * theta ** (-jnp.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * jnp.cos(angle) - b * jnp.sin(angle), b * jnp.cos(angle) + a * jnp.sin(angle)], -1)


def _loss(config, params, tokens, targets, weights):
    N, T = tokens.shape
    H, G = config.num_heads, config.num_kv_heads
    table, eps, theta = params["embed"]["embedding"], config.norm_eps, config.rope.theta
    visible = jnp.tril(jnp.ones((T, T), bool))

    def layer(x, w):
        u = _norm(x, w["norm_in"]["scale"], eps)
        q, k, v = (u @ w["attention"][name] for name in "qkv")
        q, k = _rotated(q.reshape(N, T, H, -1), theta), _rotated(k.reshape(N, T, G, -1), theta)
        k, v = (jnp.repeat(a.reshape(N, T, G, -1), H // G, axis=2) for a in (k, v))
        scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / q.shape[-1] ** 0.5
        seen = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
        x = x + jnp.einsum("nhqk,nkhd->nqhd", seen, v).reshape(N, T, -1) @ w["attention"]["o"]
        u = _norm(x, w["norm_post"]["scale"], eps)
        return x + (jax.nn.silu(u @ w["mlp"]["gate"]) * (u @ w["mlp"]["up"])) @ w["mlp"]["down"], None

    x, _ = jax.lax.scan(layer, table[tokens], params["blocks"]["0"])
    x = _norm(x, params["norm"]["scale"], eps)
    logits = x @ (table.T if config.tie_embeddings else params["head"]["kernel"])
    nll = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return (nll * weights).sum() / weights.sum()
