"""Linear cross-entropy: per-token losses from hidden states without a full logits array.

Both passes apply the head to ``chunk`` tokens at a time. The largest logits buffer is ``chunk × vocabulary`` float32
per device, whatever the sequence length. The backward pass, which knows the sums of all logits, takes several chunks of
tokens by as many slices of the vocabulary, in buffers of the same size: so the float32 gradient of the head, far larger
than a buffer, is read and written as many times less. The same op serves supervised losses, policy log-probabilities
and evaluation: it returns one number per token, and the caller weighs them.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.ops.collectives import psum, sum_gradients
from polaris_jax.ops.perturbed import instantiate, values
from polaris_jax.ops.rowwise import block_size

LANES = 128
SLICES = 8  # of the vocabulary, at most: beyond, the sums of the tokens' gradients move as much as the kernel's


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
    """One device's tokens, flattened and cut in chunks of equal size; ``vocab_size`` is a number."""
    B, S, D = hidden.shape
    size = block_size(B * S, chunk)
    if vocab_size == kernel.shape[1] * (1 if axis is None else jax.lax.axis_size(axis)):
        vocab_size = None
    nll, lse = _chunks(axis, vocab_size, soft_cap, hidden.reshape(-1, size, D), kernel, targets.reshape(-1, size))
    return nll.reshape(B, S), lse.reshape(B, S)


def _first_column(axis, kernel):
    """The first vocabulary id of this shard."""
    return 0 if axis is None else jax.lax.axis_index(axis) * kernel.shape[1]


def _logits(vocab_size, soft_cap, x, columns, first):
    """Logits ``[T, C] float32`` of the vocabulary ids from ``first`` on, whose columns of the kernel are given.

    Ids from ``vocab_size`` on are padding; None: there is none.
    """
    logits = jnp.dot(x, columns, preferred_element_type=jnp.float32)
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    if vocab_size is None:
        return logits
    return jnp.where(first + jnp.arange(columns.shape[1]) < vocab_size, logits, -jnp.inf)


def _slices(chunks: int, columns: int) -> int:
    """Into how many slices of whole lanes the vocabulary is cut, so that as many chunks of tokens share a buffer."""
    return max(n for n in range(1, SLICES + 1) if chunks % n == 0 and (n == 1 or columns % (n * LANES) == 0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _chunks(axis, vocab_size, soft_cap, hidden, kernel, targets):
    return _evaluate(axis, vocab_size, soft_cap, hidden, kernel, targets)[0]


def _chunks_forward(axis, vocab_size, soft_cap, hidden, kernel, targets):
    arguments = values((hidden, kernel, targets))
    results, lse, logits = _evaluate(axis, vocab_size, soft_cap, *arguments)
    return results, (*arguments, lse, logits, () if kernel.perturbed else None)


def _evaluate(axis, vocab_size, soft_cap, hidden, kernel, targets):
    """``((nll, lse), lse, logits)``; the logits are kept where there is only one chunk of them."""
    first = _first_column(axis, kernel)

    def one(_, inputs):
        x, target = inputs
        logits = _logits(vocab_size, soft_cap, x, kernel, first)
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

    first, V = _first_column(axis, kernel), kernel.shape[1]

    def gradients(x, target, lse, dnll, dlse, columns, first, logits=None):
        """What these tokens and columns give to the kernel's columns and to the tokens, float32."""
        logits = _logits(vocab_size, soft_cap, x, columns, first) if logits is None else logits
        probabilities = jnp.exp(logits - lse[:, None])
        chosen = (first + jnp.arange(logits.shape[1])) == target[:, None]
        dlogits = probabilities * (dnll + dlse)[:, None] - jnp.where(chosen, dnll[:, None], 0.0)
        if soft_cap:  # the slope of the tanh; padding columns are -inf, and their gradient is 0 as it is
            dlogits *= 1 - jnp.square(jnp.maximum(logits, -soft_cap) / soft_cap)
        dlogits = dlogits.astype(x.dtype)
        dx = jnp.dot(dlogits, columns.T, preferred_element_type=jnp.float32)
        dcolumns = None if learns is None else jnp.dot(x.T, dlogits, preferred_element_type=jnp.float32)
        return dcolumns, dx

    rows = (hidden, targets, lse, *cotangents)
    if kept is not None:
        dkernel, dx = gradients(*(x[0] for x in rows), kernel, first, kept)
        dhidden = dx.astype(hidden.dtype)[None]
    else:
        slices = _slices(hidden.shape[0], V)
        rows = [x.reshape(-1, slices * x.shape[1], *x.shape[2:]) for x in rows]

        def group(total, rows):
            def add(i, carry):
                total, dx = carry
                at = i * (V // slices)
                columns = jax.lax.dynamic_slice_in_dim(kernel, at, V // slices, axis=1)
                dcolumns, more = gradients(*rows, columns, first + at)
                if learns is not None:
                    dcolumns += jax.lax.dynamic_slice_in_dim(total, at, V // slices, axis=1)
                    total = jax.lax.dynamic_update_slice_in_dim(total, dcolumns, at, axis=1)
                return total, dx + more

            total, dx = jax.lax.fori_loop(0, slices, add, (total, jnp.zeros(rows[0].shape, jnp.float32)))
            return total, dx.astype(hidden.dtype)

        dkernel, dhidden = jax.lax.scan(group, None if learns is None else jnp.zeros(kernel.shape, jnp.float32), rows)
        dhidden = dhidden.reshape(hidden.shape)
    # What these gradients of one device still lack is a sum, that of ``hidden`` over ``axis`` and that of ``kernel``
    # over the axes of the tokens.
    return dhidden, None if learns is None else dkernel.astype(kernel.dtype), None


_chunks.defvjp(_chunks_forward, _chunks_backward, symbolic_zeros=True)
