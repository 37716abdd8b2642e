"""Finds a model by its address: a model folder itself, or the one inside a training run's folder.

A model folder holds ``config.json`` and the tokenizer. Weights lie beside them (Hugging Face or Orbax format), or, for
a training run, in the checkpoints of the run: ``RUN/model`` has no weights of its own.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.models.adapters import ADAPTER_CONFIG, base_address
from polaris_jax.models.checkpoint import parse_json_object
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.export_files import CONFIG
from polaris_jax.models.folder import open_folder

_SHAPES = Path(__file__).parents[1] / "configs" / "models"
MODEL = "model"  # the model folder inside a training run's folder


@dataclass(frozen=True)
class ModelFolder:
    """A model whose config is read and whose weights are not.

    Attributes:
      path: of ``config.json`` and the tokenizer, local or gs://.
      hf_config: the content of ``config.json``.
      run: folder of the training run that has the weights; None when they lie in ``weights``.
      adapter: folder of the LoRA adapter whose base model ``hf_config`` describes; None without.
    """

    path: str
    hf_config: dict[str, Any]
    run: str | None
    adapter: str | None = None

    @property
    def weights(self) -> str:
        """The folder to load the weights from: that of the adapter, which names its base, or ``path``."""
        return self.adapter or self.path

    @property
    def config(self) -> ModelConfig:
        """The config; whether the output matrix is tied may still depend on the weights (``ModelConfig.from_hf``).

        Raises:
          InputError: an unsupported config.
        """
        return ModelConfig.from_hf(self.hf_config)


def packaged_shapes() -> list[str]:
    """Names of the shapes (``config.json`` without weights) that come with the package, sorted."""
    return sorted(folder.name for folder in _SHAPES.iterdir() if folder.is_dir())


def resolve_shape(path: str) -> str:
    """The folder of the package's shape of that name; any other path as it is, and one that exists too."""
    named = "/" not in path and path in packaged_shapes() and not os.path.exists(path)
    return str(_SHAPES / path) if named else path


def find_model_folder(path: str | os.PathLike, field: str = "--checkpoint") -> ModelFolder:
    """The model at ``path``, or at ``path/model`` when ``path`` has no ``config.json`` of its own.

    Args:
      path: a training run, a model folder in Hugging Face or Orbax format, or a LoRA adapter; local, gs://, or hf://.
      field: the caller's name for ``path`` in errors.

    Raises:
      InputError: none of them, an address that cannot be reached, or a damaged ``config.json``.
    """
    given = os.fspath(path)
    path = storage.on_disk(resolve_shape(given))
    for folder, run in ((path, None), (storage.join(path, MODEL), path)):
        file = storage.join(folder, CONFIG)
        content = storage.read(file)
        if content is not None:
            return ModelFolder(folder, parse_json_object(content, file), run)
    if (content := storage.read(storage.join(path, ADAPTER_CONFIG))) is not None:
        settings = parse_json_object(content, storage.join(path, ADAPTER_CONFIG))
        base = find_model_folder(base_address(open_folder(path), settings), "base_model_name_or_path")
        own = any(storage.read(storage.join(path, name)) for name in ("tokenizer.json", "tokenizer.model"))
        return ModelFolder(path if own else base.path, base.hf_config, None, adapter=path)
    raise InputError(field, given, _why_no_model(path))


def _why_no_model(path: str) -> str:
    if os.path.isfile(path):
        if path.endswith(".gguf"):
            return "is a GGUF file: run polaris convert FILE FOLDER first, then give FOLDER"
        return "is a file; give the folder that it lies in"
    if storage.is_remote(path):
        return "no such file in it as config.json: it is neither a training run nor a Hugging Face model folder"
    found = os.path.isdir(path)
    if found and storage.read(storage.join(path, "params.json")) is not None:
        return "is in Mistral's own layout; give the release's files for transformers (config.json, model.safetensors)"
    if found and os.path.isdir(storage.join(path, "snapshots")):
        return "is a repository in the Hub's cache; give one of the folders in its snapshots/, or hf://user/name"
    if found and any(name.endswith(".gguf") for name in os.listdir(path)):
        return "holds a GGUF file: run polaris convert FILE FOLDER first, then give FOLDER"
    if not found and re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        return f"no such folder; if you mean the repository on the Hub, write hf://{path}"
    if not found:
        return "no such folder; give a training run, a Hugging Face model folder, or hf://user/name"
    return "is neither a training run nor a Hugging Face model folder"


def read_config(path: str, *, shape_only: bool = False) -> ModelConfig:
    """The shape of the model in the folder ``path``, local or gs://.

    Args:
      path: or the name of a shape that comes with the package.
      shape_only: nothing else is needed of it, so a ``config.json`` alone will do.

    Raises:
      InputError: no such file, or a model that the code does not compute.
    """
    path = resolve_shape(path)
    alone = path.endswith(".json")
    if alone and not shape_only:
        raise InputError("config.model.path", path, "is a shape without weights; give the folder of the model")
    if path and not alone:
        return find_model_folder(path, "config.model.path").config
    content = path and storage.read_json(path)
    if not content:
        raise InputError("config.model.path", path, "holds no readable config.json; give the folder of a model")
    return ModelConfig.from_hf(content)
