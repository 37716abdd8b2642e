"""Decoders: Llama (SmolLM2), Mistral, Ministral 3, Qwen3 and the Qwen3.5 hybrid, to and from Hugging Face folders.

``from_pretrained``/``save_pretrained`` move weights, ``describe`` says what a config costs. ``decoder`` is the forward
pass as pure functions over a parameter tree, ``cached_forward`` the same with a key-value cache, ``Decoder`` both as an
NNX module. ``weights`` declares the tree once: shapes, axes, names.
"""

from polaris_jax.models.cache import init_cache, unstack
from polaris_jax.models.cached_forward import cached_forward
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import head_kernel, hidden, logits, unembed
from polaris_jax.models.describe import describe
from polaris_jax.models.loading import from_pretrained
from polaris_jax.models.module import Decoder
from polaris_jax.models.saving import save_pretrained
from polaris_jax.models.vocabulary import grow_vocabulary
from polaris_jax.models.weights import abstract_params, init_params, param_shardings, weight_table

__all__ = [
    "Decoder",
    "ModelConfig",
    "abstract_params",
    "cached_forward",
    "describe",
    "from_pretrained",
    "grow_vocabulary",
    "head_kernel",
    "hidden",
    "init_cache",
    "init_params",
    "logits",
    "param_shardings",
    "save_pretrained",
    "unembed",
    "unstack",
    "weight_table",
]
