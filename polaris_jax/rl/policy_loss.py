"""The clipped policy loss per token (PPO, arXiv 1707.06347; asymmetric clip, DAPO, arXiv 2503.14476; dual clip,
arXiv 1912.09729) and estimators of the divergence from another policy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polaris_jax.errors import InputError

ESTIMATORS = ("k1", "abs", "k2", "k3")
_NAMES = {"kl": "k1", "mse": "k2", "low_var_kl": "k3"}
# All estimator names; with a trailing +, the gradient is that of k2.
ESTIMATOR_NAMES = tuple(f"{name}{plus}" for name in (*ESTIMATORS, *_NAMES) for plus in ("", "+"))
_LOG_RATIO_LIMIT, _K3_LIMIT = 20.0, 10.0


class PolicyTerms(NamedTuple):
    """Per token, in the shape of the log-probabilities.

    Attributes:
      loss: to minimise.
      clipped: 1 where the ratio was clipped, clipped_lower: 1 where the dual clip took over.
      log_ratio: of the new to the old policy, within +-20.
    """

    loss: jax.Array
    clipped: jax.Array
    clipped_lower: jax.Array
    log_ratio: jax.Array


def policy_terms(
    logprob: jax.Array,
    old_logprob: jax.Array,
    advantage: jax.Array,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float = 3.0,
) -> PolicyTerms:
    """``max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))``, at most ``-A dual_clip`` where ``A < 0``.

    Args:
      logprob, old_logprob, advantage: one shape; nats. The gradient flows through ``logprob`` alone.
      dual_clip: above 1; 0 switches it off.
    """
    log_ratio = jnp.clip(logprob - jax.lax.stop_gradient(old_logprob), -_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    ratio = jnp.exp(log_ratio)
    plain = -advantage * ratio
    bounded = -advantage * jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    loss = jnp.maximum(plain, bounded)
    lower = jnp.zeros_like(loss, bool)
    if dual_clip:
        most = -advantage * dual_clip
        lower = (advantage < 0) & (loss > most)
        loss = jnp.where(lower, most, loss)
    return PolicyTerms(loss, (bounded > plain).astype(jnp.float32), lower.astype(jnp.float32), log_ratio)


def divergence(logprob: jax.Array, other_logprob: jax.Array, estimator: str) -> jax.Array:
    """An estimate per token of KL(policy || other) at tokens the policy drew (Schulman, "Approximating KL divergence").

    Args:
      logprob, other_logprob: nats, one shape.
      estimator: ``k1`` (difference), ``abs``, ``k2`` (half the squared difference) or ``k3``
        (``exp(d) - d - 1``, d clipped to +-20 and the value to +-10). With a trailing ``+``, the value is that of the
        estimator and the gradient that of ``k2``, whose expectation is the gradient of the divergence.

    Raises:
      InputError: an unknown estimator.
    """
    name = _NAMES.get(estimator.removesuffix("+"), estimator.removesuffix("+"))
    if name not in ESTIMATORS:
        raise InputError("config.rl.kl_estimator", estimator, f"choose one of {', '.join(ESTIMATORS)}, perhaps with +")
    difference = logprob - other_logprob
    squared = 0.5 * jnp.square(difference)
    if name == "k1":
        value = difference
    elif name == "abs":
        value = jnp.abs(difference)
    elif name == "k2":
        value = squared
    else:
        d = jnp.clip(-difference, -_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
        value = jnp.clip(jnp.exp(d) - d - 1.0, -_K3_LIMIT, _K3_LIMIT)
    return jax.lax.stop_gradient(value - squared) + squared if estimator.endswith("+") else value
