"""The folder of a run, local or gs://: whose it is, what it needs to be opened as a model, whether it can be written.

``run.json`` holds the config and what the data are, so that a folder resumes one run only; ``model/`` holds config.json
and the tokenizer. Everything is checked before any compute is spent.
"""

import hashlib
import json
import os
import shutil

import jax.numpy as jnp
from etils import epath
from ml_collections import ConfigDict

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.optim import stored_dtype
from polaris_jax.training import cluster
from polaris_jax.training.checkpoint import CHECKPOINTS, MODEL
from polaris_jax.training.config import EXECUTION_FIELDS, flatten

RUN_FILE = "run.json"


def claim(workdir: str, config: ConfigDict, data_state: dict, checkpoint_bytes: int,
          execution: tuple[str, ...] = EXECUTION_FIELDS) -> None:
    """Writes ``run.json`` and ``model/``, or checks that the folder already belongs to this very run.

    Args:
      data_state: of the input pipeline at step 0.
      checkpoint_bytes: size of one checkpoint; a disk with less room than that is refused.
      execution: how the names of those fields begin that a resumed run may have changed.

    Raises:
      InputError: another run's folder, one that cannot be written, or one without room for a checkpoint.
    """
    cluster.first_says(lambda: _claim(workdir, config, data_state, checkpoint_bytes, execution), "--workdir")


def _claim(workdir: str, config: ConfigDict, data_state: dict, checkpoint_bytes: int,
           execution: tuple[str, ...]) -> None:
    rows = {name: value for name, value in flatten(config).items()
            if not name.startswith(execution) and name not in ("model.path", "data.store")}
    identity = json.loads(json.dumps({"config": rows, "data": data_state}))
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    address = storage.join(workdir, RUN_FILE)
    held = storage.read_json(address)
    folder = epath.Path(workdir)
    if held is None and any((folder / name).exists() for name in (CHECKPOINTS, "metrics.jsonl")):
        raise InputError("--workdir", workdir, "holds files of another run; choose an empty folder")
    if held is not None and held["identity"] != digest:
        before = held["config"]
        changed = [name for name in rows if identity["config"][name] != before.get(name)]
        what = f"its {changed[0]} is {before.get(changed[0])!r}" if changed else "its data differ"
        raise InputError("--workdir", workdir, f"holds another run ({what}); choose an empty folder")
    check_room(workdir, checkpoint_bytes)
    if held is None:
        _copy_model(config.model.path, workdir)
    about = {"identity": digest, "stored_dtype": jnp.dtype(stored_dtype(config.optim.precision)).name,
             "model_path": str(config.model.path), "store": str(config.data.get("store", "")), **identity}
    if held != about:
        storage.write_json(address, about)


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
            raise InputError("--workdir", workdir, f"has {free / 1e9:.1f} GB free and one checkpoint takes "
                             f"{checkpoint_bytes / 1e9:.1f} GB; make room or choose another disk")


def _copy_model(source: str, workdir: str) -> None:
    """config.json, tokenizer and the like, without weights."""
    for item in epath.Path(source).iterdir():
        if item.is_file() and ".safetensors" not in item.name:
            storage.write(storage.join(workdir, MODEL, item.name), item.read_bytes())
