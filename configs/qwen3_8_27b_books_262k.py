"""Qwen3.8-27B on whole books: qwen3_5_9b_books_262k with the larger model.

Hardware, time and commands: polaris_jax/configs/qwen3_8_27b_books_262k.py
"""

from polaris_jax.configs.qwen3_8_27b_books_262k import get_config

__all__ = ["get_config"]
