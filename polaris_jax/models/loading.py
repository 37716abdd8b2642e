"""Hugging Face folder → ``Decoder``, one tensor at a time, straight to where each weight lives.

Accepts one safetensors file or shards with an index, and the three ways in which released checkpoints prefix the text
model. Parts of a multimodal release that this room does not model are skipped and said so; any other surprise
(a tensor missing, unknown or of another shape) is one error that names all of them.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from rich.console import Console
from rich.progress import track

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import Decoder
from polaris_jax.models.safetensors_file import StoredTensor, read_header
from polaris_jax.models.weights import Weight, weight_table
from polaris_jax.sharding import weight_spec

logger = logging.getLogger(__name__)

# How multimodal releases prefix the text model, and what a flat checkpoint says instead.
TEXT_PREFIXES = (
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
)
SKIPPED_PREFIXES = (
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "model.visual.",
    "visual.",
    "mtp.",
)
SKIPPED_SUFFIX = ".rotary_emb.inv_freq"  # a constant that old checkpoints store


def from_pretrained(
    path: Any, *, dtype: Any = None, mesh: Mesh | None = None, vocab_multiple: int = 1
) -> Decoder:
    """Loads a Hugging Face folder.

    Args:
      path: local folder or ``gs://`` prefix with ``config.json`` and safetensors.
      dtype: dtype of the parameters; default: as stored. Weights that must be float32 (the delta rule's decay and norm)
        then stay float32.
      mesh: mesh to spread the weights over (``sharding.rules``); default: one device.
      vocab_multiple: pads embedding and head with zero rows to a multiple of this, so that an odd vocabulary can be
        spread over a mesh axis. Logits, and the file when saved again, are unaffected.

    Returns:
      The model. No copy in another dtype is made on the way: host memory holds one tensor at a time.

    Raises:
      InputError: no such folder, an unsupported config, or tensors that are missing, unknown or of another shape.
    """
    folder = epath.Path(path)
    stored = _text_tensors(folder)
    hf = read_json(folder / "config.json")
    config = ModelConfig.from_hf(hf, has_head="lm_head.weight" in stored)
    _check(folder, config, stored)
    config = replace(config, vocab_rows=-(-config.vocab_size // vocab_multiple) * vocab_multiple)
    if config.vocab_rows == config.vocab_size:
        config = replace(config, vocab_rows=0)
    flat = {}
    for path_in_tree, weight in _with_progress(weight_table(config).items(), "loading"):
        flat[path_in_tree] = _load(weight, stored, dtype, mesh)
    return Decoder(config, unflatten_dict(flat))


def read_json(file: epath.Path) -> Any:
    """Parses a JSON file.

    Raises:
      InputError: missing or malformed.
    """
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError("checkpoint", str(file), "no such file; give a Hugging Face model folder") from None
    except ValueError as error:
        raise InputError("checkpoint", str(file), f"not JSON ({error})") from None


def _text_tensors(folder: epath.Path) -> dict[str, StoredTensor]:
    """The text model's tensors under their flat names; what belongs to other parts is skipped with one log line."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        where = read_json(index)["weight_map"]
    else:
        where = dict.fromkeys(read_header(folder / "model.safetensors"), "model.safetensors")
    headers = {file: read_header(folder / file) for file in sorted(set(where.values()))}
    tensors, skipped = {}, []
    for name, file in where.items():
        if name not in headers[file]:
            raise InputError("checkpoint", str(folder / file), f"lacks tensor {name}, which the index places there")
        if name.startswith(SKIPPED_PREFIXES) or name.endswith(SKIPPED_SUFFIX):
            skipped.append(name)
            continue
        flat = name
        for prefix, plain in TEXT_PREFIXES:
            if name.startswith(prefix):
                flat = plain + name.removeprefix(prefix)
                break
        if flat in tensors:
            raise InputError("checkpoint", str(folder), f"holds {flat} twice, under two prefixes")
        tensors[flat] = headers[file][name]
    if skipped:
        parts = sorted({name.split(".layers.")[0].rsplit(".", 1)[0] for name in skipped})
        logger.warning("%s: skipped %d tensors outside the text model (%s)", folder, len(skipped), ", ".join(parts[:4]))
    return tensors


def _check(folder: epath.Path, config: ModelConfig, stored: dict[str, StoredTensor]) -> None:
    expected = {name: weight.hf_shape for weight in weight_table(config).values() for name, _ in weight.hf_tensors()}
    allowed = {*expected, "lm_head.weight"} if config.tie_embeddings else set(expected)
    wrong = {
        "missing": [name for name in expected if name not in stored],
        "unknown": [name for name in stored if name not in allowed],
        "misshapen": [
            f"{name} {list(stored[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in stored and stored[name].shape != shape
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{kind}: {_some(names)}" for kind, names in wrong.items() if names)
        raise InputError("checkpoint", str(folder), f"does not fit its config.json: {told}")


def _some(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _with_progress(items: Iterable, what: str) -> Iterable:
    console = Console(stderr=True)
    return track(list(items), description=what, console=console, transient=True) if console.is_terminal else items


def _load(weight: Weight, stored: dict[str, StoredTensor], dtype: Any, mesh: Mesh | None) -> jax.Array:
    """One weight of the tree, filled tensor by tensor in place on the device."""
    tensors = [(stored[name], index) for name, index in weight.hf_tensors()]
    if dtype is None:
        dtype = jnp.result_type(*{tensor.dtype for tensor, _ in tensors})
    elif weight.float32:
        dtype = jnp.float32
    whole, one = _shardings(weight, mesh, tensors[0][0].shape)
    place = _placing(whole)
    array = jax.jit(lambda: jnp.zeros(weight.shape, dtype), out_shardings=whole)()
    for tensor, index in tensors:
        values = tensor.read()
        source = jax.make_array_from_callback(values.shape, one, lambda where, values=values: values[where])
        array = place(array, source, index or 0, weight.layers is not None, weight.transpose)
    return array


def _shardings(weight: Weight, mesh: Mesh | None, hf_shape: tuple[int, ...]) -> tuple[Sharding, Sharding]:
    """Of the stacked weight, and of one HF tensor on its way there."""
    if mesh is None:
        device = SingleDeviceSharding(jax.devices()[0])
        return device, device
    spec = weight_spec(mesh, weight.axes, weight.shape)
    entries = tuple(spec) if weight.layers is None else tuple(spec)[1:]
    if weight.transpose:
        entries = entries[::-1]
    # A padded vocabulary is divisible where the stored one is not.
    shape = weight.hf_shape
    entries = tuple(e if have == full else None for e, have, full in zip(entries, hf_shape, shape, strict=True))
    return NamedSharding(mesh, spec), NamedSharding(mesh, PartitionSpec(*entries))


@lru_cache
def _placing(sharding: Sharding):
    """A jitted ``(array, HF tensor, layer) -> array`` that updates the donated ``array`` where it lives."""

    def place(array, tensor, layer, stacked, transpose):
        tensor = (jnp.transpose(tensor) if transpose else tensor).astype(array.dtype)
        start = (layer,) + (0,) * (array.ndim - 1) if stacked else (0,) * array.ndim
        return jax.lax.dynamic_update_slice(array, tensor[None] if stacked else tensor, start)

    return jax.jit(place, static_argnums=(3, 4), donate_argnums=0, out_shardings=sharding)
