"""POLARIS on Qwen3.5-9B: the paper's recipe as intended, the human reference really in the group (arXiv 2606.04095).

Hardware, time and commands: polaris_jax/configs/qwen3_5_9b_polaris.py
"""

from polaris_jax.configs.qwen3_5_9b_polaris import get_config

__all__ = ["get_config"]
