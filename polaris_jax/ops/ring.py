"""The ring: exact attention between the queries that stay and the keys that travel, forward and backward.

Ring Attention (arXiv 2310.01889) with its own gradient. Every shard holds its queries; keys and values, one array,
pass from shard to shard. In the forward the next ones are in flight while the present ones are used, and the softmax
state is carried through the attention backend (nothing is merged outside). In the backward the gradients of keys and
values travel with them one hop behind, in float32, since they are sums over all shards, and arrive home after the last
hop; the gradient of the queries stays and is added to in place.

An attention backend (``XlaHops``, ``TpuHops``) computes one hop, in a layout of its own for what it carries from hop to
hop. It decides from positions and segment ids what is visible, so the ring knows nothing of zigzag, windows or
documents. Loops over hops are scans: the program does not grow with them.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from polaris_jax.ops import collectives
from polaris_jax.ops.attention import MASKED, NOTHING, empty_state
from polaris_jax.ops.attention_backends import Hops
from polaris_jax.ops.tiles import TokenMetadata

AXIS = "context"


@dataclasses.dataclass(frozen=True)
class Ring:
    """What is fixed about a call, the same on every shard.

    Attributes:
      shards: size of the ``context`` axis.
      group: neighbouring shards that hold the same tokens (of different heads); the ring passes from group to group.
      gather: whether all keys are gathered at once instead of travelling.
      hops_by: the attention backend (``attention_backends.Hops``).
      scale: multiplies the scores.
    """

    shards: int
    group: int
    gather: bool
    hops_by: Hops
    scale: float

    @property
    def hops(self) -> int:
        return 1 if self.gather else self.shards // self.group

    def send(self, x: jax.Array) -> jax.Array:
        """To the same place of the next group."""
        return jax.lax.ppermute(x, AXIS, [(i, (i + self.group) % self.shards) for i in range(self.shards)])

    def keys_at(self, metadata: TokenMetadata, hop: jax.Array) -> TokenMetadata:
        """The metadata of the keys present at ``hop``, out of all hops ``[hops, B, S]``."""
        group = jax.lax.axis_index(AXIS) // self.group
        return TokenMetadata(
            *(jax.lax.dynamic_index_in_dim(x, (group - hop) % self.hops, keepdims=False) for x in metadata)
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def ring(
    plan: Ring, q: jax.Array, kv: jax.Array, q_meta: TokenMetadata, kv_metas: TokenMetadata
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Attention of this shard's queries over all keys; to be called inside ``shard_map``.

    Args:
      q: ``[B, H, S, D]``; kv: ``[2, B, G, S, D]``, this shard's keys and values.
      q_meta: ``[B, S]``; kv_metas: ``[hops, B, S]``, those of every group in order.

    Returns:
      ``(out [B, H, S, D] in q.dtype, lse [B, H, S] float32 (nats), max_logit [B, H, S] float32)``; ``max_logit`` is
      each query's largest score in nats. Only ``out`` takes a gradient.
    """
    return _forward(plan, q, kv, q_meta, kv_metas)[0]


def _forward(plan: Ring, q, kv, q_meta, kv_metas):
    by = plan.hops_by
    queries = by.queries(q)

    def use(state, held, hop):
        return by.forward(queries, held, q_meta, plan.keys_at(kv_metas, hop), state)

    def body(carry, hop):
        state, held = carry
        coming = plan.send(held)  # in flight while this hop computes
        return (use(state, held, hop), coming), None

    held = _gathered(kv) if plan.gather else kv
    (state, held), _ = jax.lax.scan(body, (by.take(empty_state(q)), held), jnp.arange(plan.hops - 1))
    state = use(state, held, plan.hops - 1)
    # Without the barrier the compiler keeps the float32 state alive and finishes it a second time.
    out, lse = jax.lax.optimization_barrier(by.finish(state, q.dtype))
    # Named, so that a remat policy may keep them: then the backward pass does not run the ring forward again.
    out, lse = checkpoint_name(out, "attention_out"), checkpoint_name(lse, "attention_lse")
    return (out, lse, state.running_max), (q, kv, q_meta, kv_metas, out, lse)


def _backward(plan: Ring, saved, cotangents):
    q, kv, q_meta, kv_metas, out, lse = saved
    dout = cotangents[0]
    delta = jnp.einsum("bhsd,bhsd->bhs", dout, out, preferred_element_type=jnp.float32)
    by = plan.hops_by
    prepared = by.prepare(q, dout, lse, delta)

    def use(dq, held, hop):
        return by.backward(prepared, held, q_meta, plan.keys_at(kv_metas, hop), dq)

    def body(carry, hop):
        dq, dkv, held = carry
        coming = plan.send(held)
        arriving = plan.send(dkv)  # the sums of the previous hop, in flight while this hop computes
        dq, more = use(dq, held, hop)
        return (dq, arriving + more, coming), None

    dq = by.dq(jnp.zeros(q.shape, jnp.float32))
    if plan.hops == 1:
        dq, dkv = use(dq, _gathered(kv) if plan.gather else kv, 0)
        if plan.gather:
            dkv = collectives.reduce_scatter(dkv, (AXIS,), by.token_axis)
    else:
        held = plan.send(kv)
        dq, dkv = use(dq, kv, 0)
        (dq, dkv, held), _ = jax.lax.scan(body, (dq, dkv, held), jnp.arange(1, plan.hops - 1))
        arriving = plan.send(dkv)
        dq, more = use(dq, held, plan.hops - 1)
        dkv = plan.send(arriving + more)
    nothing = jax.tree.map(lambda _: None, (q_meta, kv_metas))  # positions and segments are integers
    return (by.dq((dq * plan.scale).astype(q.dtype)), by.dkv(dkv.astype(kv.dtype)), *nothing)


ring.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def backward_only(
    plan: Ring,
    q: jax.Array,
    kv: jax.Array,
    q_meta: TokenMetadata,
    kv_metas: TokenMetadata,
    out: jax.Array,
    lse: jax.Array,
) -> jax.Array:
    """``out`` as ``ring`` gave it, with its ``lse``: nothing runs until a gradient comes, then ``ring``'s backward."""
    return out


def _backward_only_forward(plan, *saved):
    return saved[-2], saved


def _backward_only_backward(plan, saved, dout):
    return *_backward(plan, saved, (dout,)), None, None


backward_only.defvjp(_backward_only_forward, _backward_only_backward)


def _gathered(kv: jax.Array) -> jax.Array:
    """``[2, B, G, S, D]`` of every shard, joined along the tokens."""
    return jax.lax.all_gather(kv, AXIS, axis=3, tiled=True)


def largest(max_logit: jax.Array) -> jax.Array:
    """Per head, the largest score of ``max_logit [B, H, S]``: ``[H] float32``, ``MASKED`` where no query saw a key."""
    max_logit = max_logit.max(axis=(0, 2))
    return jnp.where(max_logit == NOTHING, MASKED, max_logit)
