"""Reads a Hugging Face checkpoint folder: its config and the text model's tensors, checked against each other.

Accepts one safetensors file or shards with an index, and the three prefixes that released checkpoints give the text
model. Other parts of a multimodal release are skipped with a warning. Any other difference (a tensor that is missing,
unknown, of another shape or of an unsupported format) is one error, which names the first and counts all.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.models.adapters import ADAPTER, ADAPTER_CONFIG, merge_adapter, read_adapter
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import BucketFolder, LocalFolder
from polaris_jax.models.quantized import expand
from polaris_jax.models.safetensors_file import DTYPES, dtype_name, read_header
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.weights import weight_table

logger = logging.getLogger(__name__)

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"

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


def read_checkpoint(
    folder: LocalFolder | BucketFolder, hf_config: Mapping[str, Any]
) -> tuple[ModelConfig, dict[str, HFTensor]]:
    """The config of a Hugging Face folder and its text model's tensors under their flat names, no values read yet.

    Quantised weights appear as what they stand for (``quantized``); with LoRA weights beside them they appear merged
    (``adapters``).

    Args:
      hf_config: the content of its ``config.json``.

    Raises:
      InputError: no weights, an unsupported config, or tensors that do not fit it.
    """
    ModelConfig.from_hf(hf_config)  # a model of another kind is refused for what it is, not for its tensors' names
    stored = expand(_text_tensors(folder), hf_config)
    config = ModelConfig.from_hf(hf_config, has_head="lm_head.weight" in stored)
    _check(str(folder), config, stored)
    tensors = {name: tensor for name, tensor in stored.items() if isinstance(tensor, HFTensor)}
    if folder.exists(ADAPTER_CONFIG):
        if folder.exists(ADAPTER):
            return config, merge_adapter(read_adapter(folder, read_json(folder, ADAPTER_CONFIG)), tensors)
        logger.warning("%s: %s has no %s beside it; the base model is loaded", folder, ADAPTER_CONFIG, ADAPTER)
    return config, tensors


def has_weights(folder: LocalFolder | BucketFolder) -> bool:
    """Whether the folder holds a model's safetensors."""
    return folder.exists(SINGLE) or folder.exists(INDEX)


def read_json(folder: LocalFolder | BucketFolder, name: str) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
      InputError: missing or malformed.
    """
    file = f"{folder}/{name}"
    try:
        content = folder.read(name).tobytes()
    except FileNotFoundError:
        raise InputError("checkpoint", file, "no such file; give a Hugging Face model folder") from None
    except NotADirectoryError:
        raise InputError("checkpoint", str(folder), "is a file; give the folder that it lies in") from None
    return parse_json_object(content, file)


def parse_json_object(content: bytes, file: str, field: str = "checkpoint") -> dict[str, Any]:
    """The JSON object in ``content``; ``file`` is its name in errors, ``field`` what the caller calls it.

    Raises:
      InputError: it is not one.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(field, file, f"not JSON ({str(error)[:80]})") from None
    if not isinstance(value, dict):
        raise InputError(field, file, "is not a JSON object")
    return value


def _text_tensors(folder: LocalFolder | BucketFolder) -> dict[str, HFTensor | str]:
    """The text model's tensors; what belongs to other parts is skipped with one log line."""
    where = _weight_map(folder)
    headers = {file: read_header(folder, file) for file in sorted(set(where.values()))}
    tensors: dict[str, HFTensor | str] = {}
    skipped = []
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
        if not folder.exists(SINGLE):
            raise InputError("checkpoint", str(folder), _why_no_weights(folder))
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
            f"{name} {tensor if isinstance(tensor, str) else dtype_name(tensor.dtype)}"
            for name, tensor in stored.items()
            if name in expected and (isinstance(tensor, str) or tensor.dtype not in DTYPES.values())
        ],
    }
    if any(wrong.values()):
        raise InputError("checkpoint", folder, f"does not fit its config.json: {_listed(wrong)}")


def _listed(wrong: Mapping[str, list[str]], most: int = 190) -> str:
    """The problems by kind, as many by name as ``most`` characters hold."""
    found = {kind: names for kind, names in wrong.items() if names}
    share, told = most // len(found), []
    for kind, names in found.items():
        line = f"{kind}: {names[0]}"
        shown = 1
        while shown < len(names) and len(line) + len(names[shown]) < share:
            line += f", {names[shown]}"
            shown += 1
        told.append(line if shown == len(names) else f"{line} and {len(names) - shown} more")
    return "; ".join(told)


def _why_no_weights(folder: LocalFolder | BucketFolder) -> str:
    """What a folder without ``model.safetensors`` holds instead, and what to do."""
    if folder.exists("pytorch_model.bin") or folder.exists("pytorch_model.bin.index.json"):
        return "has only PyTorch's .bin weights; load and save it once with transformers, which writes safetensors"
    if folder.exists("consolidated.safetensors") or folder.exists("params.json"):
        return "is in Mistral's own layout; give the release's files for transformers (model.safetensors)"
    if folder.exists("model-00001-of-00002.safetensors") or (
        isinstance(folder, LocalFolder) and any(folder.path.glob("model-00001-of-*.safetensors"))
    ):
        return f"has shards but no {INDEX}; copy that file too"
    return f"holds no weights; copy {SINGLE}, or {INDEX} and every shard that it names"
