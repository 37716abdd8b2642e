"""Loads a checkpoint into a sampler: the one place that needs both ``training`` and ``sampling``."""

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import Mesh

from polaris_jax import storage
from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models import describe, unstack
from polaris_jax.models.adapter_bank import add_adapters, open_adapter_for
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.export_files import GENERATION, end_tokens
from polaris_jax.models.lora import Held
from polaris_jax.models.model_folder import ModelFolder, find_model_folder
from polaris_jax.sampling import Sampler
from polaris_jax.sampling.sampler import check_cache_tokens, check_speculation
from polaris_jax.sharding import make_mesh
from polaris_jax.training import load_weights

# From this many parameters on, a CPU gains more by not copying layers out of their stack than it loses by compiling
# each of them.
MIN_UNSTACKED_PARAMETERS = 50_000_000
# Tokens of a prompt read at once. An accelerator fills its matrix units with several hundred. A CPU reads a long prompt
# a third faster than in chunks of 64, since XLA rearranges the weights of a product once per pass.
PREFILL_CHUNK = 512


def open_sampler(
    checkpoint: str | os.PathLike | ModelFolder,
    max_length: int,
    *,
    axes: Mapping[str, int] | None = None,
    dtype: Any = None,
    cache_dtype: Any = None,
    weights: Held | None = None,
    cache_tokens: int | None = None,
    speculate: int = 0,
    adapters: Mapping[str, str] | None = None,
    within_positions: bool = False,
    stages: bool = True,
) -> Sampler:
    """A sampler over a training run's newest checkpoint or a Hugging Face folder, local or gs://.

    Args:
      checkpoint: its address, or what ``find_model_folder`` found there.
      max_length: most tokens of a text.
      axes: devices per mesh axis, as for ``make_mesh``; weights stream straight into their shards. Default: see
        ``sampling_mesh``.
      dtype: of weights and arithmetic; default as stored.
      cache_dtype: of cached keys and values; default that of the weights.
      weights: ``int8`` or ``nf4``: the layers' matrices are quantised as they are read, run of rows by run of rows, and
        the model is nowhere whole in another form; default: in ``dtype``, like embedding and norms.
      cache_tokens: tokens that all texts of a cache have room for together (``Sampler``); default: each has its own.
      speculate: most tokens that are guessed with each one generated (``Sampler``); 0: none.
      adapters: addresses of PEFT folders by the names that requests ask for them with (``models.adapter_bank``).
      within_positions: refuse a ``max_length`` beyond the model's positions, before its weights are read.
      stages: False takes a model whose vocabulary lacks the stage tokens: it chats, and writes no books.

    Raises:
      InputError: neither a run nor a model, an adapter that does not fit it, a mesh that does not fit the devices, a
        ``max_length`` beyond the model's positions, or ``speculate`` with a model that cannot.
    """
    model = checkpoint if isinstance(checkpoint, ModelFolder) else find_model_folder(checkpoint)
    config = model.config
    if within_positions and max_length > config.max_positions:
        raise InputError("--window", max_length, f"the model has {config.max_positions} positions")
    check_speculation("--speculate", speculate, config)
    mesh = sampling_mesh(axes, config)
    check_cache_tokens("--cache-tokens", cache_tokens, max_length, mesh)
    opened = [open_adapter_for(config, "--adapter", address) for address in (adapters or {}).values()]
    config, params, folder = load_weights(model, dtype=dtype, mesh=mesh, held=weights or "auto")
    if opened:
        params = add_adapters(params, config, opened, params["embed"]["embedding"].dtype, mesh)
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and mesh is None and describe(config).total >= MIN_UNSTACKED_PARAMETERS:
        params = unstack(params)
    return Sampler(
        params,
        replace(config, eos_token_ids=_end_tokens(config, model.path)),
        load_tokenizer(folder, stages=stages),
        max_length=max_length,
        mesh=mesh,
        cache_dtype=cache_dtype,
        prefill_chunk=PREFILL_CHUNK,
        first_capacity=min(max_length, 2048),
        cache_tokens=cache_tokens,
        speculate=speculate,
        adapters=tuple(adapters or ()),
    )


def _end_tokens(config: ModelConfig, folder: str) -> tuple[int, ...]:
    """The ids that end a text, those of ``generation_config.json`` among them."""
    found = end_tokens(config, storage.read_json(storage.join(folder, GENERATION)) or {})
    if any(type(token) is not int for token in found):
        raise InputError(f"{GENERATION}: eos_token_id", found, "must be a token id or a list of them")
    return found


def sampling_mesh(axes: Mapping[str, int] | None, config: ModelConfig) -> Mesh | None:
    """The mesh over which a model is spread for sampling; None: one device.

    By default all devices of an accelerator are used (``default_axes``). On a CPU it is one device: others would
    share its cores.
    """
    devices = jax.devices()
    if axes is None:
        if devices[0].platform == "cpu" or len(devices) == 1:
            return None
        axes = default_axes(len(devices), config.num_kv_heads)
    if -1 not in axes.values():
        devices = devices[: math.prod(axes.values())]
    return make_mesh(axes, devices=devices)


def default_axes(devices: int, key_heads: int) -> dict[str, int]:
    """``tensor`` as far as key heads divide, ``context`` beyond that.

    The time of a decoding step is that of reading the weights: over ``tensor`` each device reads its part of them, and
    its heads' part of the cache. Over ``context`` each holds the cache of a part of the tokens.
    """
    tensor = math.gcd(devices, key_heads)
    return {"tensor": tensor, "context": devices // tensor}
