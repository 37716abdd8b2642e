"""SmolLM2-135M on small volumes of many novels: the whole recipe at a size where everything can be tried in an hour.

Hardware, time and commands: polaris_jax/configs/smollm2_135m_books.py
"""

from polaris_jax.configs.smollm2_135m_books import get_config

__all__ = ["get_config"]
