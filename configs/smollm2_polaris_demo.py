"""SmolLM2-135M-Instruct learns to keep to a requested length: GRPO with human references, programmatic rewards.

Hardware, time and commands: polaris_jax/configs/smollm2_polaris_demo.py
"""

from polaris_jax.configs.smollm2_polaris_demo import get_config

__all__ = ["get_config"]
