"""LoRA adapters of small models, every number of them drawn, as PEFT folders."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.models import ModelConfig
from polaris_jax.models.adapter_folder import peft_settings, write_adapter
from polaris_jax.models.lora import Lora, split_table
from polaris_jax.models.saving import table_tensors
from polaris_jax.models.weights import table_initialiser


def drawn_adapter(
    model: ModelConfig, lora: Lora, base, folder: Path, size: float = 0.3, files=None, seed: int = 1, only: str = ""
) -> Path:
    """Writes an adapter for the model in ``base``; returns its folder.

    Args:
      only: keep the tensors whose names have this in them.
    """
    trained = split_table(model, lora).trained
    params = table_initialiser(trained, jnp.dtype(jnp.float32), None, model.num_layers)(jax.random.key(seed))
    draw = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda x: x + size * draw.standard_normal(x.shape).astype(np.float32) / x.shape[-2] ** 0.5, params
    )
    tensors = {name: tensor for name, tensor in table_tensors(params, trained).items() if only in name}
    write_adapter(tensors, peft_settings(model, lora, str(base)), folder, files or {})
    return folder
