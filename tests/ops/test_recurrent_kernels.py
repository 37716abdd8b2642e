"""The kernels around the delta rule, interpreted on the CPU, give what XLA gives: convolution, norm and gate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.ops import delta_rule
from polaris_jax.ops.gated_norm_tpu import gated_norm
from polaris_jax.ops.recurrent_backend import XLA, recurrent_backend
from polaris_jax.ops.short_convolution_tpu import short_convolution
from polaris_jax.sharding import make_mesh

# Sums are float32; what enters and leaves is rounded to bfloat16, 2**-9 at most each.
ROUNDED = 2**-8


def normal(seed, *shape, dtype=jnp.bfloat16):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def results(run, arrays):
    """What ``run`` gives and the gradients of all arrays, which are taken at full precision."""
    out, pull = jax.vjp(run, *(x.astype(jnp.float32) for x in arrays))
    return out, *pull(normal(9, *out.shape, dtype=jnp.float32))


def assert_close(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        error = jnp.sqrt(jnp.mean((a.astype(jnp.float32) - b) ** 2) / jnp.mean(b**2))
        assert error < ROUNDED, error


@pytest.mark.parametrize("given", ["documents", "state", "documents and state"])
def test_the_short_convolution(given):
    """Blocks of 16 rows beside their neighbours, parts of different widths, rows of different documents."""
    B, S, K, widths = 2, 272, 4, (128, 256)
    x, kernel, state = normal(0, B, S, sum(widths)), normal(1, K, sum(widths)), normal(2, B, K - 1, sum(widths))
    segments = jnp.asarray(np.stack([np.repeat([1, 2, 3], [5, 130, 137]), np.repeat([1, 2], [1, 271])]), jnp.int32)
    before = jnp.asarray([[0, 1, 1], [1, 1, 1]], jnp.int32)  # the segments of the inputs before

    def kernels(x, kernel, state):
        options = {"segment_ids": segments} if "documents" in given else {}
        if "state" in given:
            options |= {"state": state}
        if given == "documents and state":
            options |= {"state_segments": before}
        parts = short_convolution(x, kernel, widths=widths, interpret=True, **options)
        return jnp.concatenate(parts, axis=-1).astype(jnp.float32)

    def plain(x, kernel, state):
        if given == "documents and state":  # as one row, without its first outputs
            row, owners = jnp.concatenate([state, x], axis=1), jnp.concatenate([before, segments], axis=1)
            return jax.nn.silu(delta_rule.causal_convolution(row, kernel, segment_ids=owners)[0][:, K - 1 :])
        options = {"segment_ids": segments} if given == "documents" else {"state": state}
        return jax.nn.silu(delta_rule.causal_convolution(x, kernel, **options)[0])

    used = (x, kernel, state) if "state" in given else (x, kernel)
    unused = () if "state" in given else (state,)
    found, wanted = (
        jax.jit(lambda arrays, f=f: results(lambda *a: f(*a, *unused), arrays))(used) for f in (kernels, plain)
    )
    assert_close(found, wanted)


def test_the_gated_norm():
    x, gate, scale = normal(0, 2, 272, 256), normal(1, 2, 272, 256), normal(2, 128)
    by_head = lambda x: x.reshape(2, 272, 2, 128)  # noqa: E731
    found, wanted = (
        jax.jit(lambda arrays, f=f: results(f, arrays))((x, gate, scale))
        for f in (
            lambda x, z, s: gated_norm(x, z, s, 1e-6, interpret=True).astype(jnp.float32),
            lambda x, z, s: XLA.gated_norm(by_head(x), z, s, 1e-6),
        )
    )
    assert_close(found, wanted)


def test_a_mesh_without_tpus_has_the_portable_backend():
    mesh = make_mesh({"fsdp": 1}, devices=jax.devices()[:1])
    assert recurrent_backend(mesh) is XLA
    assert recurrent_backend(mesh, "pallas_interpret") is not XLA
    with pytest.raises(InputError, match="pallas_interpret"):
        recurrent_backend(mesh, "triton")


def test_xla_rounds_the_steps_beside_the_rule_once():
    """As the kernels do: from bfloat16 inputs the result is the float32 result, rounded once."""
    draw = jax.random.split(jax.random.key(0), 5)
    x, gate = (jax.random.normal(key, (1, 16, 24), jnp.bfloat16) for key in draw[:2])
    kernel, scale = jax.random.normal(draw[2], (4, 24)), jax.random.normal(draw[3], (8,))
    wide = lambda a: a.astype(jnp.float32)  # noqa: E731
    for found, exact in zip(
        XLA.short_convolution(x, kernel, widths=(8, 16)),
        XLA.short_convolution(wide(x), kernel, widths=(8, 16)),
        strict=True,
    ):
        assert jnp.array_equal(found, exact.astype(jnp.bfloat16))
    heads = x.reshape(1, 16, 3, 8)
    exact = XLA.gated_norm(wide(heads), wide(gate), scale, 1e-6).astype(jnp.bfloat16)
    assert jnp.array_equal(XLA.gated_norm(heads, gate, scale, 1e-6), exact)
