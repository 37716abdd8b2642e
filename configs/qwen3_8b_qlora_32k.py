"""QLoRA of Qwen3-8B at 32,768 tokens on one chip: the base in four bits, an adapter of rank 16 beside every matrix.

Hardware, time and commands: polaris_jax/configs/qwen3_8b_qlora_32k.py
"""

from polaris_jax.configs.qwen3_8b_qlora_32k import get_config

__all__ = ["get_config"]
