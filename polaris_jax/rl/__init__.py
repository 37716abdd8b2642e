"""Post-training on stories: GRPO with human-reference injection (HRI), ORPO and DPO, on the training mesh.

HRI: the human story of the same prompt is a row of its group.

``post_train(config, workdir)`` runs or resumes a run. The pure parts stand alone: ``group_advantages``,
``WeightSchedule``, ``aggregation_weights``, ``policy_terms``, ``divergence``, ``orpo_loss``, ``dpo_loss``,
``AutoWeights``. ``tasks`` and ``chapters`` define what is written (published prompts, or whole chapters under a plan).
``pair_rows`` reads preference pairs and ``pair_training`` learns from them. ``learner`` updates the weights, and
``journal`` keeps what a step has produced.
"""

from polaris_jax.rl.advantages import group_advantages
from polaris_jax.rl.aggregation import aggregation_weights
from polaris_jax.rl.auto_weights import AutoWeightOptions, AutoWeights
from polaris_jax.rl.config import RlConfig, default_rl_config, rl_config
from polaris_jax.rl.dpo import dpo_loss
from polaris_jax.rl.loop import post_train
from polaris_jax.rl.policy_loss import divergence, policy_terms
from polaris_jax.rl.preference import orpo_loss
from polaris_jax.rl.result import RlResult
from polaris_jax.rl.schedules import WeightSchedule

__all__ = [
    "AutoWeightOptions",
    "AutoWeights",
    "RlConfig",
    "RlResult",
    "WeightSchedule",
    "aggregation_weights",
    "default_rl_config",
    "divergence",
    "dpo_loss",
    "group_advantages",
    "orpo_loss",
    "policy_terms",
    "post_train",
    "rl_config",
]
