"""Optimizers that move matrices as matrices, and bfloat16 weights that learn.

``muon`` orthogonalises the momentum of weight matrices, each once per mesh; ``make_optimizer`` combines it with AdamW
for everything else by path rules; ``precision`` holds the three recipes for low-precision weights.
"""

from polaris_jax.optim.groups import GroupRule, group_table, label_params
from polaris_jax.optim.muon import muon, orthogonalize
from polaris_jax.optim.optimizer import global_norm, make_optimizer
from polaris_jax.optim.precision import RECIPES, apply_updates, stored_dtype, working_copy
from polaris_jax.optim.schedules import make_schedule

__all__ = ["RECIPES", "GroupRule", "apply_updates", "global_norm", "group_table", "label_params", "make_optimizer",
           "make_schedule", "muon", "orthogonalize", "stored_dtype", "working_copy"]
