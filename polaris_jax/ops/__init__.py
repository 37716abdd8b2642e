"""The mathematics: pure functions over arrays, each fast path beside a plain reference.

``attention`` is the reference on one device; ``context_attention`` the same function over the ``context`` mesh axis, as
a ring (``ring_attention``), a ring of groups, or with all keys gathered, by an XLA loop or by TPU kernels;
``linear_cross_entropy`` is the loss that never holds a full logits array; ``stochastic_round`` rounds without bias.
"""

from polaris_jax.ops.attention import attention
from polaris_jax.ops.context import context_attention, ring_attention
from polaris_jax.ops.cross_entropy import linear_cross_entropy
from polaris_jax.ops.rounding import stochastic_round

__all__ = ["attention", "context_attention", "linear_cross_entropy", "ring_attention", "stochastic_round"]
