"""Steps with non-finite gradients change nothing, and are counted.

The decision is part of the compiled step and the same on every device. It sends no value to the host, so reading the
counters or not does not change a run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from polaris_jax.optim.muon import MuonState


class SkipState(NamedTuple):
    """``total`` and ``consecutive`` skipped steps, int32 scalars, and the state of the inner transformation."""

    total: jax.Array
    consecutive: jax.Array
    inner: Any


def skip_nonfinite(
    inner: optax.GradientTransformation, norm: Callable[[Any], jax.Array]
) -> optax.GradientTransformation:
    """``inner``, but a step whose gradients have a non-finite norm changes neither parameters nor momenta.

    The updates of such a step are minus zero, the only number that leaves the bits of every weight unchanged when
    added. Schedules count the steps of the run, so their counters advance.

    Args:
      norm: norm of the gradients that count, float32 scalar. If ``inner`` computes it again, that costs nothing.
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
    """``{"skipped_steps", "skipped_in_a_row"}`` from the state of ``make_optimizer``'s optimizer, for the metrics."""
    return {"skipped_steps": state.total, "skipped_in_a_row": state.consecutive}
