"""A causal convolution read in pieces has the gradients of the whole, also in pieces shorter than its kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import tolerances

from polaris_jax.ops.delta_rule import causal_convolution


def test_gradients_of_pieces_of_one_to_three_tokens():
    rng = np.random.default_rng(0)
    x, kernel, cotangent = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 9, 5), (4, 5), (2, 9, 5))
    )

    def whole(x, kernel):
        return (causal_convolution(x, kernel)[0] * cotangent).sum()

    def pieces(x, kernel):
        state, found, start = None, [], 0
        for size in (1, 2, 1, 3, 2):
            part, state = causal_convolution(x[:, start : start + size], kernel, state=state)
            found.append(part)
            start += size
        return (jnp.concatenate(found, 1) * cotangent).sum()

    want, got = (jax.grad(function, (0, 1))(x, kernel) for function in (whole, pieces))
    tolerances.assert_gradients_agree(got, want, tolerances.sums(2 * 9, in_a_row=2))
