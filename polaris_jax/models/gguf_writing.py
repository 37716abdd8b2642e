"""Writes a model as a folder for llama.cpp and Ollama: the GGUF file, a Modelfile, and the stage grammars as GBNF.

Matrices are stored in one type (``TYPES``), vectors in float32, as llama.cpp's own converter does. Weights are written
a few rows at a time. The K-quants are made by llama.cpp's ``llama-quantize``, from a file in F16.
"""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.export_files import SETTINGS, TEMPLATE, TOKENIZER, end_tokens, export_settings
from polaris_jax.models.gguf_layout import (
    ARCHITECTURES,
    ROPE_FACTORS,
    WRITTEN_AS,
    gguf_name,
    neighbours_first,
    rope_factors,
    rotated_heads,
    write_rope,
)
from polaris_jax.models.gguf_vocabulary import write_vocabulary
from polaris_jax.models.progress import progress
from polaris_jax.models.saving import atomic_local_folder
from polaris_jax.models.tensors import HFTensor, pieces
from polaris_jax.models.weights import weight_table
from polaris_jax.storage import is_remote, naming
from polaris_jax.trajectory import SPECIALS
from polaris_jax.trajectory.stages import FAMILIES, ROLES, element, element_name

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
K_QUANTS = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K")
QUANTIZE = "llama-quantize"


def write_gguf(
    tensors: Mapping[str, HFTensor],
    config: ModelConfig,
    path: Any,
    *,
    files: Mapping[str, bytes],
    kind: str = "F16",
    name: str = "model",
) -> str:
    """Writes the folder ``path``, which appears whole: ``NAME-TYPE.gguf``, ``Modelfile``, ``stages/NAME.gbnf``.

    The stage grammars are written when the vocabulary has the stage tokens.

    Args:
      tensors: Hugging Face tensors by name.
      files: the tokenizer's files and the generation settings (``export_files``).
      kind: one of ``TYPES``, or of ``K_QUANTS``: then ``llama-quantize`` is run where it is on PATH.
      name: of the model.

    Returns:
      What was written, in a few words; with the command that is left to run, if any.

    Raises:
      InputError: a family, tokenizer or type that GGUF files are not written with.
    """
    kind = kind.upper()
    if kind not in (*TYPES, *K_QUANTS):
        raise InputError("--gguf-type", kind, f"not one of {', '.join((*TYPES, *K_QUANTS))}")
    if config.model_type not in WRITTEN_AS:
        raise InputError("--to", "gguf", f"{config.model_type} models are not written as GGUF; write --to hf")
    if config.model_type == "qwen2" and config.num_heads * config.head_dim != config.hidden_size:
        raise InputError("head_dim", config.head_dim, "llama.cpp takes a Qwen2 whose heads are as wide as the model")
    if is_remote(path):
        raise InputError("DST", str(path), "GGUF files are written to local disks; copy the folder afterwards")
    if str(path).endswith(".gguf"):
        raise InputError("DST", str(path), "give a folder; the .gguf file is named inside it")
    if TOKENIZER not in files:
        raise InputError("--to", "gguf", "the model's folder has no tokenizer, which a GGUF file contains")
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"
    made = "F16" if kind in K_QUANTS else kind
    with atomic_local_folder(path) as folder:
        file = folder.path / f"{name}-{made}.gguf"
        with naming(file):
            _write_file(tensors, config, file, files, made, name)
        command = [QUANTIZE, file.name, f"{name}-{kind}.gguf", kind]
        run = kind in K_QUANTS and shutil.which(QUANTIZE) is not None
        if run:
            _quantize(command, folder.path)
            file.unlink()
            file = folder.path / command[2]
        (folder.path / "Modelfile").write_text(_modelfile(file.name, config, files), encoding="utf-8")
        if set(SPECIALS) <= _added(files):
            write_stage_grammars(folder.path / "stages")
    if kind in K_QUANTS and not run:
        return f"GGUF, {made}; for {kind} run in that folder: {' '.join(command)}"
    return f"GGUF, {kind}"


def write_stage_grammars(folder: Path) -> None:
    """One GBNF file per stage, for ``--grammar-file`` of llama.cpp or the ``grammar`` field of its server.

    The files are named after the elements of ``trajectory.ELEMENTS``, because two roles have one in each family. The
    prompt is free text: it has none.
    """
    folder.mkdir()
    names = {element_name(role, family) for role in ROLES for family in FAMILIES if role != "prompt"}
    for name in sorted(names):
        (folder / f"{name}.gbnf").write_text(element(name).gbnf(), encoding="utf-8")


def _quantize(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError("--gguf-type", command[-1], f"{QUANTIZE} failed: {last[:120]}")


def _write_file(
    tensors: Mapping[str, HFTensor], config: ModelConfig, file: Path, files: Mapping[str, bytes], kind: str, name: str
) -> None:
    from gguf import (
        GGMLQuantizationType,
        GGUFWriter,  # an extra: only GGUF files need it
        LlamaFileType,
        quant_shape_to_byte_shape,
    )

    arch = WRITTEN_AS[config.model_type]
    writer = GGUFWriter(file, arch)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_quantization_version(2)
    _write_shape(writer, config)
    write_vocabulary(writer, files[TOKENIZER], config.vocab_size)
    _write_ends(writer, config, files)
    planned = []
    if (factors := rope_factors(config.rope)) is not None:
        planned.append((ROPE_FACTORS, HFTensor(factors.shape, factors.dtype, lambda a, b: factors[a:b]), "F32"))
    for hf_name in (name for weight in weight_table(config).values() for name, _ in weight.hf_tensors()):
        tensor = tensors[hf_name]
        if ARCHITECTURES[arch].interleaved and (heads := rotated_heads(config, hf_name)):
            tensor = neighbours_first(tensor, heads)
        planned.append((gguf_name(hf_name), tensor, _stored_type(tensor, kind)))
    for gguf, tensor, stored in planned:
        raw = GGMLQuantizationType[stored]
        size = math.prod(quant_shape_to_byte_shape(tensor.shape, raw))
        # The shape is in elements; a NumPy dtype other than uint8 says so.
        writer.add_tensor_info(gguf, tensor.shape, np.dtype(np.float32), size, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None  # the header is in it
    (stream,) = writer.fout
    writer.write_padding(stream, stream.tell())
    with progress("saving", sum(tensor.bytes for _, tensor, _ in planned)) as advance:
        for _, tensor, stored in planned:
            written = 0
            for piece, content in _encoded(tensor, GGMLQuantizationType[stored]):
                stream.write(content)
                written += len(content)
                advance(piece)
            writer.write_padding(stream, written)
    writer.close()


def _encoded(tensor: HFTensor, kind: Any) -> Iterator[tuple[int, bytes]]:
    """``(bytes read, bytes to write)`` of each run of rows."""
    from gguf import quantize

    for piece in pieces(tensor):
        yield piece.nbytes, quantize(piece.astype(np.float32), kind).tobytes()


def _stored_type(tensor: HFTensor, kind: str) -> str:
    """Vectors stay float32; rows that do not fill the type's blocks are stored as F16."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(tensor.shape) == 1:
        return "F32"
    return "F16" if tensor.shape[-1] % GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0] else kind


def _write_shape(writer: Any, config: ModelConfig) -> None:
    # llama.cpp has no window in these architectures; within a window's length there is no difference.
    writer.add_context_length(min(config.max_positions, config.sliding_window or config.max_positions))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    write_rope(writer, config)


def _write_ends(writer: Any, config: ModelConfig, files: Mapping[str, bytes]) -> None:
    """BOS, padding, the tokens that end a text, and the chat template."""
    settings = json.loads(files.get(SETTINGS, b"{}"))
    described = json.loads(files[TOKENIZER])
    ids = {token["content"]: token["id"] for token in described.get("added_tokens") or []}

    def named(role: str) -> int | None:
        token = settings.get(f"{role}_token")
        return ids.get(token["content"] if isinstance(token, dict) else token) if token else None

    bos = named("bos") if named("bos") is not None else config.bos_token_id
    if bos is not None:
        writer.add_bos_token_id(bos)
    writer.add_add_bos_token(bool(settings.get("add_bos_token")) or _begins_with_bos(described, bos))
    # llama.cpp stops at all three of these; the first is also what a chat template calls ``eos_token``.
    ends = end_tokens(config, export_settings(files))
    own = named("eos")
    ends = ends if own is None else tuple(dict.fromkeys((own, *ends)))
    roles = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for add, number in zip(roles, ends, strict=False):
        add(number)
    if (pad := named("pad") if named("pad") is not None else config.pad_token_id) is not None:
        writer.add_pad_token_id(pad)
    if (unknown := named("unk")) is not None:
        writer.add_unk_token_id(unknown)
    if template := chat_template(files):
        writer.add_chat_template(template)


def _begins_with_bos(described: Mapping[str, Any], bos: int | None) -> bool:
    """Whether the tokenizer's own template puts the BOS token before a text."""
    if bos is None:
        return False
    steps = described.get("post_processor") or {}
    for part in steps.get("processors", [steps]):
        first = (part.get("single") or [{}])[0]
        token = first.get("SpecialToken", {}).get("id") if isinstance(first, dict) else None
        if token is not None and bos in part.get("special_tokens", {}).get(token, {}).get("ids", []):
            return True
    return False


def chat_template(files: Mapping[str, bytes]) -> str | None:
    """The default chat template among the files, or None."""
    if TEMPLATE in files:
        return files[TEMPLATE].decode()
    template = json.loads(files.get(SETTINGS, b"{}")).get("chat_template")
    if isinstance(template, list):  # several, by name
        template = next((entry["template"] for entry in template if entry.get("name") == "default"), None)
    return template or None


def _added(files: Mapping[str, bytes]) -> set[str]:
    return {token["content"] for token in json.loads(files[TOKENIZER]).get("added_tokens") or []}


def _modelfile(file: str, config: ModelConfig, files: Mapping[str, bytes]) -> str:
    """Ollama's description of the model; without a chat template in the file the prompt goes through as it is."""
    names = {token["id"]: token["content"] for token in json.loads(files[TOKENIZER]).get("added_tokens") or []}
    lines = [f"FROM ./{file}", f"PARAMETER num_ctx {min(config.max_positions, config.sliding_window or 1 << 30)}"]
    ends = end_tokens(config, export_settings(files))
    lines += [f"PARAMETER stop {json.dumps(names[end], ensure_ascii=False)}" for end in ends if end in names]
    if not chat_template(files):
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    return "\n".join(lines) + "\n"
