"""Muon for weight matrices, AdamW for the rest, and recipes for training bfloat16 weights.

``muon`` orthogonalises the momentum of weight matrices, each once per mesh. ``make_optimizer`` combines it with AdamW
by path rules, and skips steps with non-finite gradients. ``precision`` holds the three recipes for low-precision
weights. ``qk_clip`` keeps attention logits small.
"""

from polaris_jax.optim.groups import ATTENTION_AND_GATES, GroupRule, group_table, label_params
from polaris_jax.optim.muon import attention_splits, muon, orthogonalize
from polaris_jax.optim.nonfinite import skipped_steps
from polaris_jax.optim.norms import global_norm, group_norms
from polaris_jax.optim.optimizer import make_optimizer
from polaris_jax.optim.precision import RECIPES, apply_updates, stored_dtype, working_copy
from polaris_jax.optim.qk_clip import qk_clip
from polaris_jax.optim.schedules import make_schedule

__all__ = [
    "ATTENTION_AND_GATES",
    "RECIPES",
    "GroupRule",
    "apply_updates",
    "attention_splits",
    "global_norm",
    "group_norms",
    "group_table",
    "label_params",
    "make_optimizer",
    "make_schedule",
    "muon",
    "orthogonalize",
    "qk_clip",
    "skipped_steps",
    "stored_dtype",
    "working_copy",
]
