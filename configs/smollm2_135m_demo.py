"""SmolLM2-135M-Instruct on mini trajectories of one novel: the training run inside `polaris demo`.

Hardware, time and commands: polaris_jax/configs/smollm2_135m_demo.py
"""

from polaris_jax.configs.smollm2_135m_demo import get_config

__all__ = ["get_config"]
