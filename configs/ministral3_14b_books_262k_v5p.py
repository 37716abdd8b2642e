"""Ministral 3 14B on whole books on v5p: ministral3_14b_books_262k on another mesh.

Hardware, time and commands: polaris_jax/configs/ministral3_14b_books_262k_v5p.py
"""

from polaris_jax.configs.ministral3_14b_books_262k_v5p import get_config

__all__ = ["get_config"]
