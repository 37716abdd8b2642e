"""Qwen3.5-9B on series and long novels: qwen3_5_9b_books_262k at 1,048,576 tokens.

Hardware, time and commands: polaris_jax/configs/qwen3_5_9b_books_1m.py
"""

from polaris_jax.configs.qwen3_5_9b_books_1m import get_config

__all__ = ["get_config"]
