"""The mathematics: pure functions over arrays, each fast path beside a plain reference.

``attention`` is the reference on one device, ``ring_attention`` the same function over the ``context`` mesh axis,
``linear_cross_entropy`` the loss that never holds a full logits array, ``stochastic_round`` unbiased rounding.
"""

from polaris_jax.ops.attention import attention

__all__ = ["attention"]
