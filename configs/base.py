"""What all training runs on books share; the other configs start from it. Not a run of its own: it names no model.

Hardware, time and commands: polaris_jax/configs/base.py
"""

from polaris_jax.configs.base import get_config

__all__ = ["get_config"]
