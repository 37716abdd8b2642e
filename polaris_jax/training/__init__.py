"""Supervised fine-tuning: the jitted step, the loop around it, checkpoints that resume, metrics per stage role.

``train(config, workdir)`` runs or resumes a run; ``load_weights`` opens what a run (or Hugging Face) left behind.
"""

from polaris_jax.training import cluster
from polaris_jax.training.checkpoint import Checkpoints, load_weights
from polaris_jax.training.config import TrainConfig, apply_overrides, default_config, load_config, train_config
from polaris_jax.training.loop import TrainResult, train
from polaris_jax.training.metrics import quarter_means, read_metrics
from polaris_jax.training.state import TrainState

__all__ = [
    "Checkpoints",
    "TrainConfig",
    "TrainResult",
    "TrainState",
    "apply_overrides",
    "cluster",
    "default_config",
    "load_config",
    "load_weights",
    "quarter_means",
    "read_metrics",
    "train",
    "train_config",
]
