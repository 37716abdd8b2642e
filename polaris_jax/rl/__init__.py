"""Post-training on stories: GRPO with human references in the group, and ORPO, on the training mesh.

``post_train(config, workdir)`` runs or resumes a run. The pure parts stand alone: ``group_advantages``,
``WeightSchedule``, ``aggregation_weights``, ``policy_terms``, ``divergence``, ``orpo_loss``, ``AutoWeights``. ``tasks``
and ``chapters`` say what is written (published prompts, or whole chapters under a plan), ``learner`` updates,
``journal`` keeps what a step has produced.
"""

from polaris_jax.rl.advantages import group_advantages
from polaris_jax.rl.aggregation import aggregation_weights
from polaris_jax.rl.auto_weights import AutoWeightOptions, AutoWeights
from polaris_jax.rl.config import check_rl_config, default_rl_config
from polaris_jax.rl.loop import RlResult, post_train
from polaris_jax.rl.policy_loss import divergence, policy_terms
from polaris_jax.rl.preference import orpo_loss
from polaris_jax.rl.schedules import WeightSchedule

__all__ = ["AutoWeightOptions", "AutoWeights", "RlResult", "WeightSchedule", "aggregation_weights", "check_rl_config",
           "default_rl_config", "divergence", "group_advantages", "orpo_loss", "policy_terms", "post_train"]
