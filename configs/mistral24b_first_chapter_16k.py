"""Mistral Small 24B on plans and first chapters: 16,384 tokens, 64 rows per step, one epoch.

Hardware, time and commands: polaris_jax/configs/mistral24b_first_chapter_16k.py
"""

from polaris_jax.configs.mistral24b_first_chapter_16k import get_config

__all__ = ["get_config"]
