"""An adapter as others read it: PEFT's folder, and the LoRA file that llama.cpp applies to a base model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.adapters import ADAPTER, ADAPTER_CONFIG, HEAD, Adapter
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.gguf_layout import ARCHITECTURES, WRITTEN_AS, gguf_name, neighbours_first, rotated_heads
from polaris_jax.models.lora import WHOLE, Lora, target_ranks
from polaris_jax.models.progress import progress
from polaris_jax.models.safetensors_file import write_file
from polaris_jax.models.saving import atomic_folder, atomic_local_folder, write_json
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.weights import Weight, weight_table
from polaris_jax.storage import is_remote

PREFIX = "base_model.model."  # what PEFT puts before the base model's names


def peft_settings(config: ModelConfig, lora: Lora, base: str) -> dict[str, Any]:
    """The content of ``adapter_config.json``.

    Args:
      base: address of the base model: a folder, or ``hf://user/name``.
    """
    table, ranks = weight_table(config), target_ranks(config, lora)
    every = {name for weight in table.values() for name in _modules(weight)}
    chosen = {name: ranks[path] for path in ranks for name in _modules(table[path])}
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.removeprefix("hf://"),
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if float(lora.alpha).is_integer() else lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "target_modules": sorted(_short(set(chosen), every)),
        "rank_pattern": {
            name.replace(".", r"\."): rank
            for rank in sorted({*chosen.values()} - {lora.rank})
            for name in sorted(_short({name for name, own in chosen.items() if own == rank}, every))
        },
        "alpha_pattern": {},
        "modules_to_save": None,
    }
    if lora.embeddings:
        settings["modules_to_save"] = [table[path].hf_name.split(".")[-2] for path in WHOLE if path in table]
        settings["ensure_weight_tying"] = config.tie_embeddings
    return settings


def _modules(weight: Weight) -> list[str]:
    return [name.removesuffix(".weight") for name, _ in weight.hf_tensors() if name.endswith(".weight")]


def _short(chosen: set[str], every: set[str]) -> set[str]:
    """Module names for PEFT, which takes an ending for all modules that end so: ``q_proj`` if all of them are meant."""
    found = set()
    for name in chosen:
        ending = name.rpartition(".")[2]
        alike = {other for other in every if other.rpartition(".")[2] == ending}
        found.add(ending if alike <= chosen else name)
    return found


def write_adapter(
    tensors: Mapping[str, HFTensor], settings: Mapping[str, Any], path: Any, files: Mapping[str, bytes]
) -> str:
    """Writes the folder ``path``, which appears whole: PEFT's two files, and the tokenizer's.

    Args:
      tensors: by the base model's names (``lora.split_table``). settings: of ``peft_settings``.
      files: the tokenizer's files by name.

    Returns:
      What was written, in a few words.
    """
    named = {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}
    if settings.get("ensure_weight_tying"):  # PEFT then looks for the tied output matrix too
        embedding = next(name for name in tensors if name.endswith("embed_tokens.weight"))
        named[f"{PREFIX}{HEAD}"] = tensors[embedding]
    with atomic_folder(path) as folder:
        with progress("saving", sum(tensor.bytes for tensor in named.values())) as advance:
            write_file(folder, ADAPTER, named, advance)
        for name, content in files.items():
            folder.write(name, [content])
        write_json(folder, ADAPTER_CONFIG, dict(settings))
    return f"LoRA adapter (PEFT), rank {settings['r']}"


def write_gguf_adapter(adapter: Adapter, config: ModelConfig, path: Any, *, name: str) -> str:
    """Writes the folder ``path`` with ``NAME-lora.gguf``, for ``llama-server --lora`` or Ollama's ``ADAPTER``.

    Returns:
      What was written, in a few words.

    Raises:
      InputError: a family that GGUF files are not written with, or an adapter that such a file cannot hold.
    """
    if config.model_type not in WRITTEN_AS:
        raise InputError("--to", "gguf-lora", f"{config.model_type} models are not written as GGUF; write --to peft")
    if adapter.whole or any(embedding for _, embedding in adapter.factors):
        raise InputError("--to", "gguf-lora", "the embedding was trained too; write the merged model with --to gguf")
    if is_remote(path):
        raise InputError("DST", str(path), "GGUF files are written to local disks; copy the folder afterwards")
    with atomic_local_folder(path) as folder:
        _write_gguf_file(adapter, config, folder.path / f"{name}-lora.gguf")
    return "GGUF adapter, F32"


def _write_gguf_file(adapter: Adapter, config: ModelConfig, file: Path) -> None:
    from gguf import GGUFType, GGUFWriter, Keys  # an extra: only GGUF files need it

    arch = WRITTEN_AS[config.model_type]
    alpha = float(adapter.settings.get("lora_alpha", 8))
    writer = GGUFWriter(file, arch)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string(Keys.Adapter.TYPE, "lora")
    writer.add_float32(Keys.Adapter.LORA_ALPHA, alpha)
    for (name, _), pair in adapter.factors.items():
        a, b = pair["A"], pair["B"]
        rank = a.shape[0]
        # llama.cpp multiplies by alpha / rank; what another rule asks for goes into B.
        share = adapter.scale(name, rank) / (alpha / rank)
        if ARCHITECTURES[arch].interleaved and (heads := rotated_heads(config, name)):
            b = neighbours_first(b, heads)
        for part, tensor, factor in (("a", a, 1.0), ("b", b, share)):
            values = np.ascontiguousarray(tensor.read().astype(np.float32) * np.float32(factor))
            writer.add_tensor(f"{gguf_name(name)}.lora_{part}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
