"""Ministral 3 14B on series and long novels: full-parameter SFT at 1,048,576 tokens.

Hardware, time and commands: polaris_jax/configs/ministral3_14b_books_1m.py
"""

from polaris_jax.configs.ministral3_14b_books_1m import get_config

__all__ = ["get_config"]
