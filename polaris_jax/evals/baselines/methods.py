"""The methods by name."""

from collections.abc import Callable

from polaris_jax.evals.baselines.desk import Desk
from polaris_jax.evals.baselines.direct import direct
from polaris_jax.evals.baselines.doc import doc
from polaris_jax.evals.baselines.dynamic_outline import dynamic_outline
from polaris_jax.evals.baselines.plan_and_write import plan_and_write
from polaris_jax.evals.baselines.re3 import re3

METHODS: dict[str, Callable[[Desk, str, int], str]] = {
    "direct": direct,
    "plan-and-write": plan_and_write,
    "re3": re3,
    "doc": doc,
    "dynamic-outline": dynamic_outline,
}
