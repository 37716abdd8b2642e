"""What a training run needs and how long it takes, before a chip is rented.

``plan(config, topology)`` compiles the *real* train step for a TPU slice (no TPU needed) and reads the compiler's own
files: memory by part, every collective and what hides it. ``roofline`` turns these into seconds and dollars. Without
libtpu, ``analytic`` answers instead, and says so. ``with_suggestion`` searches for a config that fits, and
``largest_context`` for the longest window.
"""

from polaris_jax.planner.choose import choose_context_method
from polaris_jax.planner.plan import plan
from polaris_jax.planner.suggest import largest_context, with_suggestion
from polaris_jax.planner.verdict import PlanVerdict

__all__ = ["PlanVerdict", "choose_context_method", "largest_context", "plan", "with_suggestion"]
