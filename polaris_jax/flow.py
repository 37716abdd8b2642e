"""The joint between two rooms of one floor that neither may make itself: a training run's checkpoint → a sampler."""

import math
import os
from collections.abc import Mapping

import jax
from jax.sharding import Mesh

from polaris_jax import storage
from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models import describe, unstack
from polaris_jax.models.config import ModelConfig
from polaris_jax.sampling import Sampler
from polaris_jax.sharding import make_mesh
from polaris_jax.training import load_weights
from polaris_jax.training.checkpoint import model_folder

# From this many parameters on, a CPU gains more from layers that are not copied out of their stack than it loses to
# compiling each of them.
WORTH_UNSTACKING = 50_000_000
# Tokens of a prompt read at once: a CPU is as fast with 64 as with more, an accelerator fills its matrix units with
# several hundred.
CPU_CHUNK, ACCELERATOR_CHUNK = 64, 512


def open_sampler(
    checkpoint: str | os.PathLike, max_length: int, *, axes: Mapping[str, int] | None = None, dtype=None,
    cache_dtype=None, within_positions: bool = False,
) -> Sampler:
    """A sampler over a training run's newest checkpoint or a Hugging Face folder, local or gs://.

    Args:
      axes: devices per mesh axis, as for ``make_mesh``; weights stream straight into their shards. Default: see
        ``sampling_mesh``.
      dtype: of weights and arithmetic; default as stored.
      cache_dtype: of cached keys and values; default that of the weights.
      within_positions: refuse a ``max_length`` beyond the model's positions, before its weights are read.

    Raises:
      InputError: neither a run nor a model, a mesh that the devices do not make, or a window the model does not know.
    """
    place, mesh = os.fspath(checkpoint), None
    if known := storage.read_json(storage.join(model_folder(place), "config.json")):
        config = ModelConfig.from_hf(known)
        if within_positions and max_length > config.max_positions:
            raise InputError("--window", max_length, f"the model knows {config.max_positions} positions")
        mesh = sampling_mesh(axes, config)
    config, params, folder = load_weights(place, dtype=dtype, mesh=mesh)
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and mesh is None and describe(config).total >= WORTH_UNSTACKING:
        params = unstack(params)
    return Sampler(params, config, load_tokenizer(str(folder)), max_length=max_length, mesh=mesh,
                   cache_dtype=cache_dtype, prefill_chunk=CPU_CHUNK if on_cpu else ACCELERATOR_CHUNK,
                   first_capacity=min(max_length, 2048))


def sampling_mesh(axes: Mapping[str, int] | None, config: ModelConfig) -> Mesh | None:
    """Over which devices a model is spread for writing; None: it stays on one.

    By default all devices of an accelerator take part (``default_axes``). On a CPU it is one device: the others would
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

    A step of decoding waits for reading the weights: over ``tensor`` each device reads its share of them, and of the
    cache its heads' part. Over ``context`` each holds a part of the tokens' cache.
    """
    tensor = math.gcd(devices, key_heads)
    return {"tensor": tensor, "context": devices // tensor}
