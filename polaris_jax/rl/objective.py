"""The step's objective as a sum over tokens: policy gradient, divergence from the reference policy, behaviour cloning.

**Sampler and learner.** Stories are sampled from a penalised and truncated distribution mu (top-k, top-p, repetition
penalty), while the objective is about the model's own distribution pi. There are two remedies: put mu's
log-probabilities into the objective, or weigh every token by pi/mu. We use the second, truncated (TIS): the weight
``min(pi_old(token) / mu(token), limit)`` is a constant of the gradient, pi_old comes from the learner itself, and mu's
log-probability comes with the token from the sampler. Three reasons:

* The first remedy needs the filters of every token over the whole vocabulary, which the chunked head never holds.
* It leaves the tail of pi outside the objective, where nothing pushes it down.
* The weight also corrects the numerical gap between decoding and training (caches, dtypes, kernels).

Without truncation and penalty, mu = pi and the weight is 1 up to that gap. Tokens of human references were not sampled:
their weight is 1. The metrics ``sampler/gap`` and ``sampler/sample_share`` say how far mu and pi are apart (mean
|log pi - log mu|; effective sample size over the number of tokens). SmolLM2-135M under the recipe's options (top-k 20,
top-p 0.95, penalty 1.1; 1,024 tokens): gap 0.41 nats per token, effective share 0.83, 3.5 % of the tokens at the limit;
without filters 5e-6 nats in float32.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from polaris_jax.rl.policy_loss import divergence, policy_terms
from polaris_jax.training.step import Batch, Objective

# Fields of a packed batch beside the tokens, all [B, S] float32, and 0 where they do not apply.
FIELDS = (
    "weights",  # share of the token in the policy loss (aggregation), 0 outside responses
    "advantages",  # of the row; for human references times their weight
    "old",  # log-probability before the step's first update; not read when on_policy
    "sampled",  # 1 where the sampler drew the token
    "behaviour",  # log-probability under the sampler's distribution, for sampled tokens
    "cloning",  # share of the token in the behaviour cloning loss, times its coefficient
    "reference_logprobs",  # log-probability under the reference policy
)
SUMS = (
    "policy",
    "divergence",
    "cloning",
    "tokens",
    "clipped",
    "clipped_lower",
    "log_ratio",
    "ratio",
    "gap",
    "correction",
    "correction_squared",
    "surprise",
    "sampled_tokens",
)


@dataclass(frozen=True)
class GrpoOptions:
    """Constants of the objective.

    Attributes:
      on_policy: the batch is used once, before any update. The old policy is the current one, and every ratio is 1.
      clip_low, clip_high, dual_clip: bounds of the ratio; dual_clip 0 is off.
      correction_limit: of the importance weights; 0 switches the correction off.
      kl_coef, kl_estimator: of the divergence from the reference policy, averaged like the policy loss.
    """

    on_policy: bool = True
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float = 3.0
    correction_limit: float = 2.0
    kl_coef: float = 0.0
    kl_estimator: str = "k3"


def grpo(options: GrpoOptions) -> Objective:
    """The objective ``(nll, lse, batch, total) -> (loss, sums)`` of ``training.step``; ``total`` is not used.

    ``batch`` holds ``FIELDS``. ``sums`` are scalars under ``SUMS``. Those of losses are shares of the loss; those of
    measurements are sums over the tokens with a policy weight (gap and corrections: over sampled tokens).
    """

    def objective(
        nll: jax.Array, lse: jax.Array, batch: Batch, total: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del lse, total
        logprob = -nll
        old = jax.lax.stop_gradient(logprob) if options.on_policy else batch["old"]
        counted = (batch["weights"] != 0).astype(jnp.float32)  # true for NaN as well
        sampled = batch["sampled"] * counted
        gap = jnp.where(sampled > 0, old - batch["behaviour"], 0.0)
        weight = jnp.ones_like(gap)
        if options.correction_limit:
            weight = jnp.where(sampled > 0, jnp.minimum(jnp.exp(gap), options.correction_limit), 1.0)
        terms = policy_terms(
            logprob,
            old,
            batch["advantages"],
            clip_low=options.clip_low,
            clip_high=options.clip_high,
            dual_clip=options.dual_clip,
        )
        parts = {
            "policy": jnp.where(counted > 0, terms.loss * weight * batch["weights"], 0.0),
            "cloning": nll * batch["cloning"],
            "divergence": jnp.zeros_like(nll),
        }
        if options.kl_coef:
            apart = divergence(logprob, batch["reference_logprobs"], options.kl_estimator)
            parts["divergence"] = options.kl_coef * apart * batch["weights"]
        loss = (parts["policy"] + parts["cloning"] + parts["divergence"]).sum()
        sums = parts | {
            "tokens": counted,
            "sampled_tokens": sampled,
            "clipped": terms.clipped * counted,
            "clipped_lower": terms.clipped_lower * counted,
            "log_ratio": terms.log_ratio * counted,
            "ratio": jnp.exp(terms.log_ratio) * counted,
            "gap": jnp.abs(gap),
            "correction": weight * sampled,
            "correction_squared": jnp.square(weight) * sampled,
            "surprise": nll * sampled,
        }
        return loss, {name: jax.lax.stop_gradient(sums[name].sum()) for name in SUMS}

    return objective


def linear(nll: jax.Array, lse: jax.Array, batch: Batch, total: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """``-(cotangents * log-probabilities).sum()``: the gradient of any function of log-probabilities.

    ``batch["cotangents"]`` are the negative derivatives of that function, so this loss has the function's gradient.
    """
    del lse, total
    return (nll * batch["cotangents"]).sum(), {}


def readable(sums: dict[str, float]) -> dict[str, float]:
    """``SUMS`` as the values of a metrics line: parts of the loss, and means per token."""
    tokens, sampled = max(sums["tokens"], 1.0), max(sums["sampled_tokens"], 1.0)
    return {
        **{f"loss/{name}": sums[name] for name in ("policy", "divergence", "cloning")},
        "policy/clipped": sums["clipped"] / tokens,
        "policy/clipped_lower": sums["clipped_lower"] / tokens,
        "policy/kl_old": -sums["log_ratio"] / tokens,
        "policy/ratio": sums["ratio"] / tokens,
        "sampler/surprise": sums["surprise"] / sampled,
        "sampler/gap": sums["gap"] / sampled,
        "sampler/correction": sums["correction"] / sampled,
        "sampler/sample_share": sums["correction"] ** 2 / (sampled * max(sums["correction_squared"], 1e-30)),
        "tokens": sums["tokens"],
    }
