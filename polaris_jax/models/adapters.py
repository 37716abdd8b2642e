"""LoRA adapters (Hu et al. 2021) as PEFT stores them, merged into their base model while it is read.

A merged weight is ``W + s B A`` with ``s = alpha / r`` (``alpha / sqrt(r)`` with ``use_rslora``, Kalajdzievski 2023),
made in float32, run of rows by run of rows, and rounded to the dtype of ``W``.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.folder import BucketFolder, LocalFolder
from polaris_jax.models.safetensors_file import DTYPES, read_header
from polaris_jax.models.tensors import HFTensor

ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
HEAD = "lm_head.weight"
_UNREAD = ("use_dora", "alora_invocation_tokens", "corda_config", "target_parameters", "megatron_config", "use_qalora")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter whose values are not read yet.

    Attributes:
      where: it comes from, for errors. settings: the content of ``adapter_config.json``.
      factors: per weight of the base model, by its flat name, and whether it is looked up in (an embedding): its ``A``
        and ``B``.
      whole: weights trained whole (``modules_to_save``), by their flat names.
    """

    where: str
    settings: Mapping[str, Any]
    factors: Mapping[tuple[str, bool], Mapping[str, HFTensor]]
    whole: Mapping[str, HFTensor]

    def tensors(self) -> dict[str, HFTensor]:
        """All of them, by the base model's names."""
        named = dict(self.whole)
        for (name, embedding), pair in self.factors.items():
            for part, tensor in pair.items():
                stem = name.removesuffix(".weight")
                named[f"{stem}.lora_embedding_{part}" if embedding else f"{stem}.lora_{part}.weight"] = tensor
        return named

    def scale(self, name: str, rank: int) -> float:
        """What the product of a weight's factors is multiplied by."""
        module = name.removesuffix(".weight")
        alpha = _of_module(self.settings.get("alpha_pattern"), module, self.settings.get("lora_alpha", 8))
        return alpha / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)


def read_adapter(folder: LocalFolder | BucketFolder, settings: Mapping[str, Any]) -> Adapter:
    """The adapter in ``folder``.

    Args:
      settings: the content of its ``adapter_config.json``.

    Raises:
      InputError: another kind of adapter than plain LoRA.
    """
    return open_adapter(str(folder), settings, read_header(folder, ADAPTER))


def open_adapter(where: str, settings: Mapping[str, Any], stored: Mapping[str, HFTensor | str]) -> Adapter:
    """An adapter of its tensors by the names that PEFT gives them.

    Raises:
      InputError: another kind of adapter than plain LoRA.
    """
    _refuse_unread(settings)
    factors: dict[tuple[str, bool], dict[str, HFTensor]] = {}
    whole: dict[str, HFTensor] = {}
    for name, tensor in stored.items():
        if not isinstance(tensor, HFTensor) or tensor.dtype not in DTYPES.values():
            raise InputError("adapter", f"{where}: {name}", f"is none of {', '.join(DTYPES)}")
        flat = _flat(name)
        if match := re.fullmatch(r"(.+)\.lora_(embedding_)?([AB])(\.weight)?", flat):
            factors.setdefault((f"{match[1]}.weight", bool(match[2])), {})[match[3]] = tensor
        else:
            whole[flat] = tensor
    return Adapter(where, settings, factors, whole)


def merge_adapter(adapter: Adapter, base: Mapping[str, HFTensor]) -> dict[str, HFTensor]:
    """The tensors of ``base`` with ``adapter`` merged into them, no values read yet.

    Args:
      base: the base model's tensors by their flat names.

    Raises:
      InputError: tensors that do not fit the base model.
    """
    merged = dict(base)
    for name, tensor in adapter.whole.items():
        if name == HEAD and name not in base and _is_tied(adapter):
            continue
        if name not in base or base[name].shape != tensor.shape:
            raise InputError("adapter", f"{adapter.where}: {name}", "fits no tensor of the base model")
        merged[name] = tensor.astype(base[name].dtype)
    for (name, embedding), pair in adapter.factors.items():
        merged[name] = _merged(adapter, name, embedding, pair, base)
    return merged


def factor_rank(adapter: Adapter, name: str, pair: Mapping[str, HFTensor], shape: tuple[int, ...] | None) -> int:
    """The rank of a weight's factors.

    Args:
      shape: ``(out, in)`` of what ``B [out, r] @ A [r, in]`` is added to; None: the base model has no such weight.

    Raises:
      InputError: one of them is missing, or they do not fit.
    """
    where = f"{adapter.where}: {name}"
    if set(pair) != {"A", "B"} or shape is None:
        raise InputError("adapter", where, "needs lora_A and lora_B, and a weight of the base model")
    a, b = pair["A"].shape, pair["B"].shape
    if len(shape) != 2 or len(a) != 2 or not a[0] or (a, b) != ((a[0], shape[1]), (shape[0], a[0])):
        raise InputError("adapter", where, f"{list(a)} and {list(b)} do not fit {list(shape)} of the base model")
    return a[0]


def _is_tied(adapter: Adapter) -> bool:
    """Whether the output matrix is the embedding, which PEFT keeps twice where the model has it once."""
    embedding = next((x for name, x in adapter.whole.items() if name.endswith("embed_tokens.weight")), None)
    return embedding is not None and np.array_equal(embedding.read(), adapter.whole[HEAD].read())


def base_address(folder: LocalFolder | BucketFolder, settings: Mapping[str, Any]) -> str:
    """Where the base model is: a folder (beside the adapter or anywhere), else a repository of the Hub.

    Raises:
      InputError: the adapter names none.
    """
    named = settings.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise InputError("base_model_name_or_path", named, f"{folder}/{ADAPTER_CONFIG} must name the base model")
    if "://" in named:
        return named
    if isinstance(folder, LocalFolder) and (folder.path / named).is_dir():
        return str(folder.path / named)
    return named if os.path.isdir(named) or not re.fullmatch(r"[\w.-]+/[\w.-]+", named) else f"hf://{named}"


def _refuse_unread(settings: Mapping[str, Any]) -> None:
    if settings.get("peft_type") != "LORA":
        raise InputError("peft_type", settings.get("peft_type"), "only LORA adapters are merged; merge it with PEFT")
    if settings.get("bias", "none") != "none":
        raise InputError("bias", settings["bias"], "an adapter with biases fits no family here; merge it with PEFT")
    for name in _UNREAD:
        if settings.get(name):
            raise InputError(name, settings[name], "only plain LoRA adapters are merged; merge it with PEFT")


def _flat(name: str) -> str:
    """The base model's name of a tensor: without PEFT's wrappers and the prefixes of a multimodal release."""
    name = name.removeprefix(_PREFIX).replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
    name = name.replace(".modules_to_save.", ".")
    for prefix, plain in (
        ("model.language_model.", "model."),
        ("language_model.model.", "model."),
        ("language_model.lm_head.", "lm_head."),
    ):
        if name.startswith(prefix):
            return plain + name.removeprefix(prefix)
    return name


def _merged(
    adapter: Adapter, name: str, embedding: bool, pair: Mapping[str, HFTensor], base: Mapping[str, HFTensor]
) -> HFTensor:
    shape = base[name].shape if name in base else None
    # Linear: B [out, r] @ A [r, in]. Embedding: (B [D, r] @ A [r, V]) transposed.
    rank = factor_rank(adapter, name, pair, shape[::-1] if embedding and shape else shape)
    weight = base[name]
    left, right = (pair["A"], pair["B"]) if embedding else (pair["B"], pair["A"])
    scale = adapter.scale(name, rank)

    def rows(start: int, stop: int) -> np.ndarray:
        if embedding:
            delta = _float32(left.read())[:, start:stop].T @ _float32(right.read()).T
        else:
            delta = _float32(left.rows(start, stop)) @ _float32(right.read())
        return (_float32(weight.rows(start, stop)) + scale * delta).astype(weight.dtype)

    return replace(weight, rows=rows)


_float32 = partial(np.asarray, dtype=np.float32)


def _of_module(pattern: Any, module: str, default: Any) -> float:
    """PEFT's rule for ``alpha_pattern``: the first expression that matches the end of the module's name."""
    for expression, value in (pattern or {}).items():
        if re.fullmatch(rf"(.*\.)?({expression})", module):
            return float(value)
    return float(default)
