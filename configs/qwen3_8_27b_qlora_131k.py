"""QLoRA of Qwen3.8-27B at 131,072 tokens on four chips: qwen3_8b_qlora_32k with the larger, hybrid model.

Hardware, time and commands: polaris_jax/configs/qwen3_8_27b_qlora_131k.py
"""

from polaris_jax.configs.qwen3_8_27b_qlora_131k import get_config

__all__ = ["get_config"]
