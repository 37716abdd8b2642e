"""Ministral 3 14B on whole books: the second stage of the paper's recipe, 262,144 tokens, 24 rows per step.

Hardware, time and commands: polaris_jax/configs/ministral3_14b_books_262k.py
"""

from polaris_jax.configs.ministral3_14b_books_262k import get_config

__all__ = ["get_config"]
