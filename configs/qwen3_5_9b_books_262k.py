"""Qwen3.5-9B on whole books: full-parameter SFT at 262,144 tokens, one row over a ``context`` axis.

Hardware, time and commands: polaris_jax/configs/qwen3_5_9b_books_262k.py
"""

from polaris_jax.configs.qwen3_5_9b_books_262k import get_config

__all__ = ["get_config"]
