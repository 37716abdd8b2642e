"""Matrix products whose gradients are made the way long rows need them."""

import functools

import jax


def linear(x: jax.Array, w: jax.Array, *, gradient_first: bool = False) -> jax.Array:
    """``x [..., in] @ w [in, out]`` in ``x.dtype``; the gradient of ``w`` is accumulated and returned in its dtype.

    Args:
      gradient_first: the gradient of ``w`` is made before the gradient of ``x`` goes on. Left alone, the compiler may
        postpone it to the end of the layer, with both of its operands kept alive through all of attention's backward.
    """
    return _linear(gradient_first, x, w)


@jax.custom_vjp
def gradients_together(*values):
    """The values themselves; the backward pass goes on behind this point only when all their gradients exist.

    So a gradient that is large before it is reduced (a gathered head in float32) is reduced, and freed, at once.
    """
    return values


gradients_together.defvjp(lambda *values: (values, None), lambda _, gradients: jax.lax.optimization_barrier(gradients))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _linear(gradient_first, x, w):
    return x @ w.astype(x.dtype)


def _forward(gradient_first, x, w):
    # Written out, not ``_linear`` again: a policy that saves the results of products must see one.
    return x @ w.astype(x.dtype), (x, w)


def _backward(gradient_first, saved, dy):
    x, w = saved
    rows = tuple(range(x.ndim - 1))
    dw = jax.lax.dot_general(x, dy, ((rows, rows), ((), ())), preferred_element_type=w.dtype)
    dx = dy @ w.astype(x.dtype).T
    return jax.lax.optimization_barrier((dx, dw)) if gradient_first else (dx, dw)


_linear.defvjp(_forward, _backward)
