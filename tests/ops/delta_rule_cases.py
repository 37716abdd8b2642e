"""Inputs of the gated delta rule, and the recurrence in float64 with every gradient, for the tests of its kernels."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

NAMES = ("out", "final", "dq", "dk", "dv", "dbeta", "dlog_decay", "dinitial")


@dataclass(frozen=True)
class Case:
    """A row of ``tokens``: keys with a common part (``correlated`` 0 to 1), decays of up to ``decay`` nats a token,
    ``beta`` give or take 0.05; ``starts``: where documents after the first begin. Key heads, value heads, rows."""

    tokens: int
    correlated: float = 0.3
    decay: float = 0.05
    beta: float = 0.5
    starts: tuple[int, ...] = ()
    keys: int = 1
    values: int = 2
    rows: int = 1
    width: int = 128


def draw(case: Case, seed: int = 0):
    """``((q, k, v bfloat16, beta, log_decay, initial float32), segments, (dout, dfinal))``."""
    rng = np.random.default_rng(seed)
    B, S, N, H, D = case.rows, case.tokens, case.keys, case.values, case.width
    normal = lambda *shape: rng.normal(size=shape)  # noqa: E731
    common = normal(B, 1, N, D)
    q, k = (case.correlated * common + (1 - case.correlated) * normal(B, S, N, D) for _ in "qk")
    beta = np.clip(case.beta + 0.05 * normal(B, S, H), 0.01, 0.999)
    segments = np.ones((B, S), np.int32)
    for row, start in enumerate(case.starts):  # rows of a batch differ
        segments[row % B :, start:] += 1
    wide = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, normal(B, S, H, D))]
    rest = (beta, -case.decay * rng.random((B, S, H)), 0.3 * normal(B, H, D, D))
    cotangents = (normal(B, S, H, D), normal(B, H, D, D))
    exact = lambda parts: tuple(jnp.asarray(x, jnp.float32) for x in parts)  # noqa: E731
    return (*wide, *exact(rest)), jnp.asarray(segments), exact(cotangents)


def results(rule, inputs, segments, cotangents, **options):
    """Output, final memory and the gradients of all inputs."""

    def run(*inputs):
        q, k, v, beta, log_decay, initial = inputs
        given = {"beta": beta, "log_decay": log_decay, "segment_ids": segments, "initial": initial}
        return rule(q, k, v, **given, **options)

    out, pull = jax.vjp(run, *inputs)
    return (*out, *pull(tuple(c.astype(o.dtype) for c, o in zip(cotangents, out, strict=True))))


def exact_recurrence(q, k, v, *, beta, log_decay, segment_ids, initial):
    """Token by token in the dtype of the inputs; the memory is kept once per 256 tokens for the backward pass."""
    group, S = v.shape[2] // k.shape[2], v.shape[1]
    unit = lambda x: x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)  # noqa: E731
    q, k = (jnp.repeat(unit(x), group, axis=2) for x in (q, k))
    fresh = segment_ids != jnp.pad(segment_ids, ((0, 0), (1, 0)), mode="edge")[:, :-1]

    def write(memory, token):
        q, k, v, beta, log_decay, fresh = token
        memory = memory * jnp.where(fresh[:, None], 0.0, jnp.exp(log_decay))[..., None, None]
        error = beta[..., None] * (v - jnp.einsum("bhkv,bhk->bhv", memory, k))
        memory = memory + k[..., None] * error[..., None, :]
        return memory, jnp.einsum("bhkv,bhk->bhv", memory, q) * q.shape[-1] ** -0.5

    tokens = [jnp.moveaxis(x, 1, 0) for x in (q, k, v, beta, log_decay, fresh)]
    piece = min(S, 256)  # what is added to fill the last piece writes nothing
    cut = [jnp.pad(x, [(0, -S % piece)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, piece, *x.shape[1:]) for x in tokens]
    some = jax.checkpoint(lambda memory, tokens: jax.lax.scan(write, memory, tokens))
    memory, out = jax.lax.scan(some, initial, tuple(cut))
    return jnp.moveaxis(out.reshape(-1, *out.shape[2:])[:S], 0, 1), memory


def exact_results(inputs, segments, cotangents):
    """``results`` of the recurrence in float64, as NumPy."""
    with jax.enable_x64(True):
        double = lambda parts: tuple(jnp.asarray(np.asarray(x, np.float64)) for x in parts)  # noqa: E731
        found = jax.jit(lambda i, c: results(exact_recurrence, i, segments, c))(double(inputs), double(cotangents))
        return [np.asarray(x) for x in found]


def errors(found, wanted):
    """Root mean square of each difference, as a share of the wanted one's; by name."""
    rms = lambda x: float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))  # noqa: E731
    return {
        name: rms(np.asarray(a, np.float64) - np.asarray(b, np.float64)) / rms(b)
        for name, a, b in zip(NAMES, found, wanted, strict=True)
    }
