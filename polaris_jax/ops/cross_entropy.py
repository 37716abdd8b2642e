"""Linear cross-entropy: per-token losses from hidden states without a full logits array.

Both passes apply the head to ``chunk`` tokens at a time. The largest logits buffer is ``chunk × vocabulary`` float32
per device, whatever the sequence length. The same op serves supervised losses, policy log-probabilities and evaluation:
it returns one number per token, and the caller weighs them.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.ops.collectives import psum, sum_gradients
from polaris_jax.ops.perturbed import instantiate, values
from polaris_jax.ops.rowwise import block_size


def linear_cross_entropy(
    hidden: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    *,
    mesh: Mesh | None = None,
    axis: str | None = None,
    chunk: int = 512,
    vocab_size: int | None = None,
    soft_cap: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Negative log-likelihood of ``targets`` under ``softmax(hidden @ kernel)``.

    Args:
      hidden: ``[B, S, D]``, batch over ``(data, fsdp)`` and sequence over ``context`` when a mesh is given.
      kernel: ``[D, V]``; its vocabulary may be spread over ``tensor``. It is gathered once, and its gradient is
        summed locally over all chunks and reduced over the mesh once.
      axis: for a caller inside ``shard_map``, instead of ``mesh``: the mesh axis over which the columns of ``kernel``
        are spread, ``hidden`` and ``targets`` being the same along it. Results are whole on every device.
      targets: ``[B, S] int32`` in ``[0, V)``.
      chunk: tokens per logits buffer.
      vocab_size: columns at or beyond it are padding and get no probability.
      soft_cap: logits become ``soft_cap * tanh(logits / soft_cap)`` (Gemma 2, arXiv 2408.00118, section 2); 0 = off.

    Returns:
      ``(nll, lse)``, both ``[B, S] float32`` in nats; ``lse`` is the log-partition (square it for a z-loss).
      Both are differentiable in ``hidden`` and ``kernel``.
    """
    V = kernel.shape[1]
    if mesh is None:
        vocab_size = V * (jax.lax.axis_size(axis) if axis else 1) if vocab_size is None else vocab_size
        hidden = sum_gradients(hidden, (axis,)) if axis else hidden
        return _local(axis, chunk, vocab_size, soft_cap, hidden, kernel, targets)
    vocab_size = V if vocab_size is None else vocab_size
    split = mesh.shape["tensor"] > 1 and V % mesh.shape["tensor"] == 0
    rows = P(("data", "fsdp"), "context")

    def local(*inputs):
        results = _local("tensor" if split else None, chunk, vocab_size, soft_cap, *inputs)
        # shard_map hands each shard an equal part of the cotangent of what is replicated over ``tensor``, and sums the
        # gradient of an input over every axis it is replicated on.
        return tuple(sum_gradients(result, ("tensor",)) for result in results) if split else results

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(rows, P(None, "tensor" if split else None), rows),
        out_specs=(rows, rows),
        check_vma=False,
    )(hidden, kernel, targets)


def reference_cross_entropy(
    hidden: jax.Array, kernel: jax.Array, targets: jax.Array, *, vocab_size: int | None = None, soft_cap: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """The plain reference: the same numbers from the full logits array."""
    logits = jnp.einsum("bsd,dv->bsv", hidden, kernel, preferred_element_type=jnp.float32)
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    if vocab_size is not None:
        logits = jnp.where(jnp.arange(logits.shape[-1]) < vocab_size, logits, -jnp.inf)
    lse = jax.nn.logsumexp(logits, axis=-1)
    return lse - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0], lse


def _local(axis, chunk, vocab_size, soft_cap, hidden, kernel, targets):
    """One device's tokens, flattened and cut in chunks of equal size."""
    B, S, D = hidden.shape
    size = block_size(B * S, chunk)
    nll, lse = _chunks(axis, vocab_size, soft_cap, hidden.reshape(-1, size, D), kernel, targets.reshape(-1, size))
    return nll.reshape(B, S), lse.reshape(B, S)


def _logits(axis, vocab_size, soft_cap, x, kernel):
    """Logits of one chunk ``[T, V_local] float32`` and the first vocabulary id of this shard."""
    V = kernel.shape[1]
    first = 0 if axis is None else jax.lax.axis_index(axis) * V
    logits = jnp.dot(x, kernel, preferred_element_type=jnp.float32)
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    if axis is None and vocab_size == V:
        return logits, first
    return jnp.where(first + jnp.arange(V) < vocab_size, logits, -jnp.inf), first


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _chunks(axis, vocab_size, soft_cap, hidden, kernel, targets):
    return _evaluate(axis, vocab_size, soft_cap, hidden, kernel, targets)[0]


def _chunks_forward(axis, vocab_size, soft_cap, hidden, kernel, targets):
    arguments = values((hidden, kernel, targets))
    results, lse, logits = _evaluate(axis, vocab_size, soft_cap, *arguments)
    return results, (*arguments, lse, logits, () if kernel.perturbed else None)


def _evaluate(axis, vocab_size, soft_cap, hidden, kernel, targets):
    """``((nll, lse), lse, logits)``; the logits are kept where there is only one chunk of them."""

    def one(_, inputs):
        x, target = inputs
        logits, first = _logits(axis, vocab_size, soft_cap, x, kernel)
        top = logits.max(axis=-1)
        top = top if axis is None else jax.lax.pmax(top, axis)
        total = jnp.exp(logits - top[:, None]).sum(axis=-1)
        here = (target >= first) & (target < first + logits.shape[1])
        column = jnp.clip(target - first, 0, logits.shape[1] - 1)
        chosen = jnp.where(here, jnp.take_along_axis(logits, column[:, None], axis=1)[:, 0], 0.0)
        if axis is not None:
            total, chosen = psum((total, chosen), (axis,))
        lse = top + jnp.log(total)
        return logits, (lse - chosen, lse)

    if hidden.shape[0] == 1:
        # A single buffer of logits is what this op may hold at a time: the backward pass need not compute it again.
        logits, (nll, lse) = one(None, (hidden[0], targets[0]))
        nll, lse = nll[None], lse[None]
    else:
        logits, (nll, lse) = jax.lax.scan(lambda _, inputs: (None, one(_, inputs)[1]), None, (hidden, targets))
    return (nll, lse), lse, logits


def _chunks_backward(axis, vocab_size, soft_cap, saved, cotangents):
    hidden, kernel, targets, lse, kept, learns = saved  # ``learns``: None where the kernel is not differentiated
    cotangents = [instantiate(cotangent) for cotangent in cotangents]

    def gradients(inputs):
        x, target, lse, dnll, dlse = inputs
        first = 0 if axis is None else jax.lax.axis_index(axis) * kernel.shape[1]
        logits = _logits(axis, vocab_size, soft_cap, x, kernel)[0] if kept is None else kept
        probabilities = jnp.exp(logits - lse[:, None])
        chosen = (first + jnp.arange(logits.shape[1])) == target[:, None]
        dlogits = probabilities * (dnll + dlse)[:, None] - jnp.where(chosen, dnll[:, None], 0.0)
        if soft_cap:  # the slope of the tanh; padding columns are -inf, and their gradient is 0 as it is
            dlogits *= 1 - jnp.square(jnp.maximum(logits, -soft_cap) / soft_cap)
        dlogits = dlogits.astype(x.dtype)
        dx = jnp.dot(dlogits, kernel.T, preferred_element_type=jnp.float32)
        dkernel = None if learns is None else jnp.dot(x.T, dlogits, preferred_element_type=jnp.float32)
        return dkernel, dx.astype(x.dtype)

    def add(total, inputs):
        dkernel, dx = gradients(inputs)
        return total + dkernel, dx

    rows = (hidden, targets, lse, *cotangents)
    if learns is None:
        dhidden = (
            jax.lax.map(lambda inputs: gradients(inputs)[1], rows)
            if kept is None
            else gradients([x[0] for x in rows])[1][None]
        )
        return dhidden, None, None
    if kept is None:
        dkernel, dhidden = jax.lax.scan(add, jnp.zeros(kernel.shape, jnp.float32), rows)
    else:
        dkernel, dhidden = gradients([x[0] for x in rows])
        dhidden = dhidden[None]
    # What these gradients of one device still lack is a sum, that of ``hidden`` over ``axis`` and that of ``kernel``
    # over the axes of the tokens.
    return dhidden, dkernel.astype(kernel.dtype), None


_chunks.defvjp(_chunks_forward, _chunks_backward, symbolic_zeros=True)
