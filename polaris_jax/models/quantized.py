"""Quantised releases, expanded while they are read: FP8 (the ``fp8`` method) and ``compressed-tensors``.

A quantised weight is stored as small numbers with scales beside it; ``expand`` gives the weight under its own name,
each run of rows multiplied as it is read. Scales of activations are left out: arithmetic here is not quantised.

    fp8                 weight float8, weight_scale_inv: one number, or one per block of ``weight_block_size``
    compressed-tensors  weight float8 or int8, weight_scale: one number, one per row, or one per group of columns;
                        pack-quantized: weight_packed int32 (4 or 8 bits each, lowest first), weight_shape
"""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.safetensors_file import DTYPES
from polaris_jax.models.tensors import HFTensor

Stored = dict[str, HFTensor | str]
ADVICE = "fp8 and compressed-tensors (float8, int8, int4) are read; load the unquantised release"
# What stands beside a quantised weight besides its scale.
_BESIDE = (
    "weight_scale",
    "weight_scale_inv",
    "weight_shape",
    "weight_packed",
    "weight_zero_point",
    "weight_g_idx",
    "activation_scale",
    "input_scale",
    "input_zero_point",
    "k_scale",
    "v_scale",
)
_FLOAT_FORMATS = ("float-quantized", "int-quantized", "naive-quantized")


def quantization(hf_config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The description of the quantisation in a ``config.json``, at either level and under either name; None without.

    Raises:
      InputError: it is no object, or a method that is not read.
    """
    levels = [hf_config, hf_config.get("text_config")]
    found = [
        level[name]
        for level in levels
        if isinstance(level, Mapping)
        for name in ("quantization_config", "compression_config")
        if level.get(name)
    ]
    if not found:
        return None
    method = found[0].get("quant_method") if isinstance(found[0], Mapping) else None
    if method not in ("fp8", "compressed-tensors"):
        raise InputError("quantization_config.quant_method", method, ADVICE)
    return dict(found[0])


def expand(stored: Stored, hf_config: Mapping[str, Any]) -> Stored:
    """``stored`` with every quantised weight as what it stands for, in the release's own dtype.

    Args:
      stored: tensors under their flat names.
      hf_config: the content of ``config.json``; without a quantisation in it, ``stored`` itself is returned.

    Raises:
      InputError: a method or a form of it that is not read, or a weight without its scale.
    """
    how = quantization(hf_config)
    if how is None:
        return stored
    levels = (hf_config.get("text_config") or hf_config, hf_config)
    dtype = _dtype(next((level[n] for level in levels for n in ("dtype", "torch_dtype") if level.get(n)), None))
    plain: Stored = {}
    for name, tensor in stored.items():
        stem, _, kind = name.rpartition(".")
        if kind == "weight_packed":
            plain[f"{stem}.weight"] = _unpacked(stem, stored, how, dtype)
        elif kind in _BESIDE:
            continue
        elif kind == "weight" and isinstance(tensor, HFTensor) and tensor.dtype not in DTYPES.values():
            plain[name] = _scaled(stem, tensor, stored, how, dtype)
        else:
            plain[name] = tensor
    return plain


def _dtype(name: Any) -> np.dtype:
    known: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16)}
    return known.get(str(name).removeprefix("torch."), np.dtype(ml_dtypes.bfloat16))


def _scaled(stem: str, weight: HFTensor, stored: Stored, how: Mapping[str, Any], dtype: np.dtype) -> HFTensor:
    """A float8 or int8 weight times its scales."""
    _refuse_zero_points(stem, stored)
    form = how.get("format")
    if how["quant_method"] == "compressed-tensors" and form not in (*_FLOAT_FORMATS, "mixed-precision", None):
        raise InputError("quantization_config.format", form, ADVICE)
    scale = _beside(stem, "weight_scale_inv" if f"{stem}.weight_scale_inv" in stored else "weight_scale", stored)
    values = scale.read().astype(np.float32)
    rows, columns = weight.shape
    blocks = how.get("weight_block_size") or [rows, columns]
    if values.size == 1:
        values, high, wide = values.reshape(1, 1), rows, columns
    elif how["quant_method"] == "fp8" or (values.ndim == 2 and values.shape[0] not in (1, rows)):
        high, wide = (int(size) for size in blocks)
    else:  # one per row, or one per group of columns
        values = values.reshape(-1, 1) if values.ndim == 1 else values
        high, wide = 1, -(-columns // values.shape[1])
    if values.shape != (-(-rows // high), -(-columns // wide)):
        raise InputError(f"{stem}.weight", list(weight.shape), f"has scales {list(values.shape)} that do not fit it")

    def expanded(start: int, stop: int) -> np.ndarray:
        factors = np.repeat(values[np.arange(start, stop) // high], wide, axis=1)[:, :columns]
        return (weight.rows(start, stop).astype(np.float32) * factors).astype(dtype)

    return HFTensor(weight.shape, dtype, expanded)


def _unpacked(stem: str, stored: Stored, how: Mapping[str, Any], dtype: np.dtype) -> HFTensor:
    """Whole numbers of 4 or 8 bits, several to an int32, times a scale per row or per group of columns."""
    _refuse_zero_points(stem, stored)
    packed, scale = _beside(stem, "weight_packed", stored), _beside(stem, "weight_scale", stored)
    rows, columns = (int(size) for size in _beside(stem, "weight_shape", stored).read())
    if packed.dtype != np.dtype(np.int32) or len(packed.shape) != 2 or packed.shape[0] != rows:
        raise InputError(f"{stem}.weight_packed", list(packed.shape), f"does not hold {rows} rows of int32")
    bits = next((size for size in (4, 8) if packed.shape[1] == -(-columns * size // 32)), None)
    if bits is None or len(scale.shape) != 2 or scale.shape[0] != rows or columns % scale.shape[1]:
        raise InputError(f"{stem}.weight_packed", list(packed.shape), f"is no packing of {columns} columns; {ADVICE}")
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    width, half = columns // scale.shape[1], 1 << (bits - 1)

    def expanded(start: int, stop: int) -> np.ndarray:
        words = packed.rows(start, stop).view(np.uint32)[..., None]
        numbers = ((words >> shifts) & ((1 << bits) - 1)).reshape(stop - start, -1)[:, :columns].astype(np.int32)
        factors = np.repeat(scale.rows(start, stop).astype(np.float32), width, axis=1)
        return ((numbers - half) * factors).astype(dtype)

    return HFTensor((rows, columns), dtype, expanded)


def _beside(stem: str, kind: str, stored: Stored) -> HFTensor:
    found = stored.get(f"{stem}.{kind}")
    if not isinstance(found, HFTensor):
        raise InputError(f"{stem}.{kind}", found, "missing: a quantised weight cannot be read without it")
    return found


def _refuse_zero_points(stem: str, stored: Stored) -> None:
    for kind in ("weight_zero_point", "weight_g_idx"):
        if f"{stem}.{kind}" in stored:
            raise InputError("quantization_config", f"{stem}.{kind}", f"asymmetric or reordered weights; {ADVICE}")
