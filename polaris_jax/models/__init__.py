"""Decoders: Llama (SmolLM2), Mistral, Ministral 3, Qwen3 and the Qwen3.5 hybrid, to and from Hugging Face folders.

``from_pretrained``/``save_pretrained`` move weights, ``describe`` says what a config costs, ``Decoder`` is the NNX
module, ``decoder`` and ``reading`` hold the same as pure functions over a parameter tree, which ``weights`` declares
once: shapes, axes, names.
"""

from polaris_jax.models.cache import init_cache, unstack
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import Decoder, head_kernel, hidden, logits, project_logits
from polaris_jax.models.describe import describe
from polaris_jax.models.loading import from_pretrained
from polaris_jax.models.reading import extend
from polaris_jax.models.saving import save_pretrained
from polaris_jax.models.vocabulary import grow_vocabulary
from polaris_jax.models.weights import abstract_params, init_params, param_shardings, weight_table

__all__ = [
    "Decoder",
    "ModelConfig",
    "abstract_params",
    "describe",
    "extend",
    "from_pretrained",
    "grow_vocabulary",
    "head_kernel",
    "hidden",
    "init_cache",
    "init_params",
    "logits",
    "param_shardings",
    "project_logits",
    "save_pretrained",
    "unstack",
    "weight_table",
]
