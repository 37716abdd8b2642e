"""Linear cross-entropy: per-token losses straight from hidden states, never a full logits array.

The head is applied to ``chunk`` tokens at a time in the forward and again in the backward, so the largest logits
buffer is ``chunk × vocabulary`` float32 per device whatever the sequence length. The same op serves supervised
losses, policy log-probabilities and evaluation: it returns one number per token and lets the caller weigh them.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.ops.blockwise import block_size


def linear_cross_entropy(
    hidden: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    *,
    mesh: Mesh | None = None,
    chunk: int = 512,
    vocab_size: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Negative log-likelihood of ``targets`` under ``softmax(hidden @ kernel)``.

    Args:
      hidden: ``[B, S, D]``, batch over ``(data, fsdp)`` and sequence over ``context`` when a mesh is given.
      kernel: ``[D, V]``; its vocabulary may be spread over ``tensor``. It is gathered once, and its gradient is
        summed locally over all chunks and reduced over the mesh once.
      targets: ``[B, S] int32`` in ``[0, V)``.
      chunk: tokens per logits buffer.
      vocab_size: columns at or beyond it are padding and get no probability.

    Returns:
      ``(nll, lse)``, both ``[B, S] float32`` in nats; ``lse`` is the log-partition (square it for a z-loss).
      Both are differentiable in ``hidden`` and ``kernel``.
    """
    V = kernel.shape[1]
    vocab_size = V if vocab_size is None else vocab_size
    if mesh is None:
        return _local(None, chunk, vocab_size, hidden, kernel, targets)
    split = mesh.shape["tensor"] > 1 and V % mesh.shape["tensor"] == 0
    rows = P(("data", "fsdp"), "context")
    local = functools.partial(_local, "tensor" if split else None, chunk, vocab_size)
    return jax.shard_map(
        local, mesh=mesh, in_specs=(rows, P(None, "tensor" if split else None), rows), out_specs=(rows, rows),
        check_vma=False,
    )(hidden, kernel, targets)


def local_cross_entropy(hidden, kernel, targets, *, chunk=512, vocab_size=None):
    """``linear_cross_entropy`` of one device's tokens with a whole kernel, for use inside ``shard_map``."""
    return _local(None, chunk, kernel.shape[1] if vocab_size is None else vocab_size, hidden, kernel, targets)


def reference_cross_entropy(hidden, kernel, targets, *, vocab_size=None):
    """The same numbers from the full logits array: the plain reference."""
    logits = jnp.einsum("bsd,dv->bsv", hidden, kernel, preferred_element_type=jnp.float32)
    if vocab_size is not None:
        logits = jnp.where(jnp.arange(logits.shape[-1]) < vocab_size, logits, -jnp.inf)
    lse = jax.nn.logsumexp(logits, axis=-1)
    return lse - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0], lse


def _local(axis, chunk, vocab_size, hidden, kernel, targets):
    """One device's tokens, flattened and cut in chunks of equal size."""
    B, S, D = hidden.shape
    size = block_size(B * S, chunk)
    nll, lse = _chunks(axis, vocab_size, hidden.reshape(-1, size, D), kernel, targets.reshape(-1, size))
    return nll.reshape(B, S), lse.reshape(B, S)


def _logits(axis, vocab_size, x, kernel):
    """Logits of one chunk ``[T, V_local] float32`` and the first vocabulary id of this shard."""
    V = kernel.shape[1]
    first = 0 if axis is None else jax.lax.axis_index(axis) * V
    logits = jnp.dot(x, kernel, preferred_element_type=jnp.float32)
    if axis is None and vocab_size == V:
        return logits, first
    return jnp.where(first + jnp.arange(V) < vocab_size, logits, -jnp.inf), first


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunks(axis, vocab_size, hidden, kernel, targets):
    return _chunks_forward(axis, vocab_size, hidden, kernel, targets)[0]


def _chunks_forward(axis, vocab_size, hidden, kernel, targets):
    def one(_, inputs):
        x, target = inputs
        logits, first = _logits(axis, vocab_size, x, kernel)
        top = logits.max(axis=-1)
        top = top if axis is None else jax.lax.pmax(top, axis)
        total = jnp.exp(logits - top[:, None]).sum(axis=-1)
        here = (target >= first) & (target < first + logits.shape[1])
        column = jnp.clip(target - first, 0, logits.shape[1] - 1)
        chosen = jnp.where(here, jnp.take_along_axis(logits, column[:, None], axis=1)[:, 0], 0.0)
        if axis is not None:
            total, chosen = jax.lax.psum((total, chosen), axis)
        lse = top + jnp.log(total)
        return logits, (lse - chosen, lse)

    if hidden.shape[0] == 1:
        # A single buffer of logits is what this op may hold at a time: the backward pass need not compute it again.
        logits, (nll, lse) = one(None, (hidden[0], targets[0]))
        nll, lse = nll[None], lse[None]
    else:
        logits, (nll, lse) = jax.lax.scan(lambda _, inputs: (None, one(_, inputs)[1]), None, (hidden, targets))
    return (nll, lse), (hidden, kernel, targets, lse, logits)


def _chunks_backward(axis, vocab_size, saved, cotangents):
    hidden, kernel, targets, lse, kept = saved
    if axis is not None:
        # The outputs are replicated over ``tensor``: shard_map hands each shard an equal part of their cotangent.
        cotangents = jax.lax.psum(cotangents, axis)

    def gradients(inputs):
        x, target, lse, dnll, dlse = inputs
        first = 0 if axis is None else jax.lax.axis_index(axis) * kernel.shape[1]
        logits = _logits(axis, vocab_size, x, kernel)[0] if kept is None else kept
        probabilities = jnp.exp(logits - lse[:, None])
        chosen = (first + jnp.arange(logits.shape[1])) == target[:, None]
        dlogits = probabilities * (dnll + dlse)[:, None] - jnp.where(chosen, dnll[:, None], 0.0)
        dlogits = dlogits.astype(x.dtype)
        dx = jnp.dot(dlogits, kernel.T, preferred_element_type=jnp.float32)
        return jnp.dot(x.T, dlogits, preferred_element_type=jnp.float32), dx.astype(x.dtype)

    def add(total, inputs):
        dkernel, dx = gradients(inputs)
        return total + dkernel, dx

    rows = (hidden, targets, lse, *cotangents)
    if kept is None:
        dkernel, dhidden = jax.lax.scan(add, jnp.zeros(kernel.shape, jnp.float32), rows)
    else:
        dkernel, dhidden = gradients([x[0] for x in rows])
        dhidden = dhidden[None]
    # shard_map sums the gradient of an input over every mesh axis it is replicated on: ``hidden`` over ``tensor``,
    # ``kernel`` over the token axes. That sum is exactly the one these local gradients still lack.
    return dhidden, dkernel.astype(kernel.dtype), None


_chunks.defvjp(_chunks_forward, _chunks_backward)
