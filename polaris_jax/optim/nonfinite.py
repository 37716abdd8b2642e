"""Steps whose gradients are not finite change nothing, and are counted.

The decision is part of the compiled step, the same on every device: no value travels to the host for it, so a run is
reproducible whether or not anybody looks at the counters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from polaris_jax.optim.muon import MuonState


class SkipState(NamedTuple):
    """``total`` and ``consecutive`` skipped steps, int32 scalars, and the state of the transformation inside."""

    total: jax.Array
    consecutive: jax.Array
    inner: Any


def skip_nonfinite(
    inner: optax.GradientTransformation, norm: Callable[[Any], jax.Array]
) -> optax.GradientTransformation:
    """``inner``, except that a step whose gradients have no finite norm leaves parameters and momenta as they are.

    Updates of such a step are minus zero, the one number that added to any weight gives back its very bits. Schedules
    go by the steps of the run, so their counters move on.

    Args:
      norm: of the gradients that count, float32 scalar; computed again by ``inner`` it costs nothing.
    """

    inner = optax.with_extra_args_support(inner)

    def init(params):
        return SkipState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), inner.init(params))

    def update(gradients, state, params=None):
        fine = jnp.isfinite(norm(gradients))
        updates, after = inner.update(gradients, state.inner, params, finite=fine)
        updates = jax.tree.map(lambda u: jnp.where(fine, u, jnp.array(-0.0, u.dtype)), updates)

        own = (optax.ScaleByScheduleState, MuonState)  # count on, or have looked at ``finite`` themselves

        def keep(new, old):
            if isinstance(new, own):
                return new
            return jnp.where(fine, new, old)

        after = jax.tree.map(keep, after, state.inner, is_leaf=lambda x: isinstance(x, own))
        skipped = 1 - fine.astype(jnp.int32)
        return updates, SkipState(state.total + skipped, skipped * (state.consecutive + 1), after)

    return optax.GradientTransformation(init, update)


def skipped_steps(state: SkipState) -> dict[str, jax.Array]:
    """``{"skipped_steps", "skipped_in_a_row"}`` of an optimizer made by ``make_optimizer``, for the metrics."""
    return {"skipped_steps": state.total, "skipped_in_a_row": state.consecutive}
