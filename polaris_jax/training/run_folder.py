"""The folder of a run, local or gs://: which run it belongs to, the files that make it a model, whether it is writable.

``run.json`` holds the config and a description of the data, so that a folder resumes only its own run. ``model/`` holds
config.json and the tokenizer. Everything is checked before any compute is spent.
"""

import hashlib
import json
import os
import shutil
from typing import Any

import jax.numpy as jnp
from etils import epath

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.models.model_folder import MODEL
from polaris_jax.optim import stored_dtype
from polaris_jax.options import current_rows, execution_fields
from polaris_jax.training import cluster
from polaris_jax.training.checkpoint import CHECKPOINTS
from polaris_jax.training.config import StepConfig, TrainConfig, flatten
from polaris_jax.training.run_adapter import RUN_FILE


def init_workdir(workdir: str, config: StepConfig, data_state: dict, checkpoint_bytes: int) -> None:
    """Writes ``run.json`` and ``model/``, or checks that the folder already belongs to this very run.

    A resumed run may have changed its execution fields, and where model and store lie.

    Args:
      data_state: of the input pipeline at step 0.
      checkpoint_bytes: size of one checkpoint; a disk with less room than that is refused.

    Raises:
      InputError: another run's folder, one that cannot be written, or one without room for a checkpoint.
    """
    cluster.run_on_first_process(lambda: _init_workdir(workdir, config, data_state, checkpoint_bytes), "--workdir")


def _init_workdir(workdir: str, config: StepConfig, data_state: dict, checkpoint_bytes: int) -> None:
    free = execution_fields(type(config)) | {"model.path", "data.store"}
    rows = {name: value for name, value in _plain(flatten(config)).items() if name not in free}
    identity = {"config": rows, "data": _plain(data_state)}
    address = storage.join(workdir, RUN_FILE)
    held = storage.read_json(address)
    folder = epath.Path(workdir)
    if held is None and any((folder / name).exists() for name in (CHECKPOINTS, "metrics.jsonl")):
        raise InputError("--workdir", workdir, "holds files of another run; choose an empty folder")
    if held is not None:
        # An older run may use the former names of fields. A field that did not exist then had its default.
        before = current_rows(type(config), held["config"])
        before = {name: value for name, value in _plain(flatten(type(config)())).items() if name in rows} | before
        if (before, held["data"]) != (identity["config"], identity["data"]):
            changed = [name for name in rows if rows[name] != before.get(name)]
            what = f"its {changed[0]} is {before.get(changed[0])!r}" if changed else "its data differ"
            raise InputError("--workdir", workdir, f"holds another run ({what}); choose an empty folder")
    check_room(workdir, checkpoint_bytes)
    if held is None:
        _copy_model(config.model.path, workdir)
    about = {
        "identity": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        "stored_dtype": jnp.dtype(stored_dtype(config.optim.precision)).name,
        "model_path": os.path.abspath(config.model.path) if os.path.isdir(config.model.path) else config.model.path,
        "store": config.data.store if isinstance(config, TrainConfig) else "",
        **identity,
    }
    if held != about:
        storage.write_json(address, about)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The value as JSON holds it: lists instead of tuples."""
    return json.loads(json.dumps(values))


def check_room(workdir: str, checkpoint_bytes: int) -> None:
    """Writes a small file and deletes it again.

    Raises:
      InputError: that failed, or the disk has no room for a checkpoint.
    """
    address = storage.join(workdir, "write_test")
    try:
        if not storage.is_remote(workdir):
            os.makedirs(workdir, exist_ok=True)
        storage.write(address, b"a run starts here")
        storage.delete(workdir, ["write_test"])
    except (InputError, OSError, ValueError) as error:
        raise InputError("--workdir", workdir, f"cannot be written ({storage.brief(error)})") from None
    if not storage.is_remote(workdir):
        free = shutil.disk_usage(workdir).free
        if free < 1.05 * checkpoint_bytes:
            raise InputError(
                "--workdir",
                workdir,
                f"has {free / 1e9:.1f} GB free and one checkpoint takes "
                f"{checkpoint_bytes / 1e9:.1f} GB; make room or choose another disk",
            )


def _copy_model(source: str, workdir: str) -> None:
    """config.json, tokenizer and the like, without weights."""
    for item in epath.Path(source).iterdir():
        if item.is_file() and ".safetensors" not in item.name:
            storage.write(storage.join(workdir, MODEL, item.name), item.read_bytes())
