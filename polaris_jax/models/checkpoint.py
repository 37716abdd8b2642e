"""What a Hugging Face checkpoint folder holds: its config and the text model's tensors, checked against each other.

Accepts one safetensors file or shards with an index, and the three ways in which released checkpoints prefix the text
model. Parts of a multimodal release that this room does not model are skipped and said so; any other surprise
(a tensor missing, unknown, of another shape, or in a format that the models do not compute in) is one error that
names all of them.
"""

import json
import logging
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import BucketFolder, LocalFolder
from polaris_jax.models.safetensors_file import DTYPES, read_header
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.weights import weight_table

logger = logging.getLogger(__name__)

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"

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


def read_checkpoint(folder: LocalFolder | BucketFolder) -> tuple[ModelConfig, dict[str, HFTensor]]:
    """The config of a Hugging Face folder and its text model's tensors under their flat names, no values read yet.

    Raises:
      InputError: no such folder, an unsupported config, or tensors that do not fit it.
    """
    stored = _text_tensors(folder)
    config = ModelConfig.from_hf(read_json(folder, CONFIG), has_head="lm_head.weight" in stored)
    _check(str(folder), config, stored)
    return config, {name: tensor for name, tensor in stored.items() if isinstance(tensor, HFTensor)}


def read_json(folder: LocalFolder | BucketFolder, name: str) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
      InputError: missing or malformed.
    """
    file = f"{folder}/{name}"
    try:
        value = json.loads(folder.read(name).tobytes())
    except FileNotFoundError:
        raise InputError("checkpoint", file, "no such file; give a Hugging Face model folder") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError("checkpoint", file, f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError("checkpoint", file, "is not a JSON object")
    return value


def _text_tensors(folder: LocalFolder | BucketFolder) -> dict[str, HFTensor | str]:
    """The text model's tensors; what belongs to other parts is skipped with one log line."""
    where = _weight_map(folder)
    headers = {file: read_header(folder, file) for file in sorted(set(where.values()))}
    tensors, skipped = {}, []
    for name, file in where.items():
        if name not in headers[file]:
            raise InputError("checkpoint", f"{folder}/{file}", f"lacks tensor {name}, which the index places there")
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


def _weight_map(folder: LocalFolder | BucketFolder) -> dict[str, str]:
    """The file of every tensor, by the index if there is one."""
    if not folder.exists(INDEX):
        return dict.fromkeys(read_header(folder, SINGLE), SINGLE)
    where = read_json(folder, INDEX).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(file, str) and "/" not in file for file in where.values()):
        raise InputError("checkpoint", f"{folder}/{INDEX}", "its weight_map must give a file beside it for each tensor")
    return where


def _check(folder: str, config: ModelConfig, stored: dict[str, HFTensor | str]) -> None:
    expected = {name: weight.hf_shape for weight in weight_table(config).values() for name, _ in weight.hf_tensors()}
    allowed = {*expected, "lm_head.weight"} if config.tie_embeddings else set(expected)
    readable = {name: tensor for name, tensor in stored.items() if isinstance(tensor, HFTensor)}
    wrong = {
        "missing": [name for name in expected if name not in stored],
        "unknown": [name for name in stored if name not in allowed],
        "misshapen": [
            f"{name} {list(readable[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in readable and readable[name].shape != shape
        ],
        f"not {', '.join(DTYPES)}": [
            f"{name} {tensor}" for name, tensor in stored.items() if name in expected and isinstance(tensor, str)
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
        raise InputError("checkpoint", folder, f"does not fit its config.json: {told}")
