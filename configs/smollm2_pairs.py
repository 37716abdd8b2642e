"""Preference pairs: SmolLM2-135M-Instruct, or another small model, learns by DPO or ORPO which answer is better.

Hardware, time and commands: polaris_jax/configs/smollm2_pairs.py
"""

from polaris_jax.configs.smollm2_pairs import get_config

__all__ = ["get_config"]
