"""A matrix product whose weight gradient is made before its input gradient goes on.

Left alone, the compiler may postpone a weight gradient until long after, and keep its two large operands alive
meanwhile: at 65,536 tokens per device that is more memory than the gradient of a whole layer.
"""

import jax


@jax.custom_vjp
def linear(x: jax.Array, w: jax.Array) -> jax.Array:
    """``x [..., in] @ w [in, out]`` in ``x.dtype``."""
    return x @ w.astype(x.dtype)


def _forward(x, w):
    return linear(x, w), (x, w)


def _backward(saved, dy):
    x, w = saved
    rows = tuple(range(x.ndim - 1))
    dw = jax.lax.dot_general(x, dy, ((rows, rows), ((), ()))).astype(w.dtype)
    dx = dy @ w.astype(x.dtype).T
    return jax.lax.optimization_barrier((dx, dw))


linear.defvjp(_forward, _backward)
