"""Checkpoints: parameters, optimizer and data state in one atomic Orbax step, written while training goes on.

A run's folder holds ``checkpoints/<step>/`` and ``model/`` (config.json and tokenizer, no weights), which together
open like any model: ``load_weights`` takes a run's folder or a Hugging Face folder alike.
"""

import json

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh

from polaris_jax.errors import InputError
from polaris_jax.models import from_pretrained
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import abstract_params
from polaris_jax.sharding import make_mesh
from polaris_jax.training.state import TrainState

CHECKPOINTS, MODEL = "checkpoints", "model"


class Checkpoints:
    """The checkpoints of one run.

    Args:
      workdir: the run's folder, local or gs://.
      keep: how many of the newest to keep.
      asynchronous: return from ``save`` before everything is on disk.
    """

    def __init__(self, workdir, *, keep: int = 2, asynchronous: bool = True):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=asynchronous)
        self._manager = ocp.CheckpointManager(epath.Path(workdir).resolve() / CHECKPOINTS, options=options)

    @property
    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, data: dict) -> None:
        """Writes a step, unless it is there already. ``data`` is the JSON state of the input pipeline."""
        if step in self._manager.all_steps():
            return
        self._manager.save(step, args=ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            optimizer=ocp.args.StandardSave({"step": state.step, "state": state.optimizer}),
            data=ocp.args.JsonSave(data)))

    def restore(self, step: int, abstract: TrainState) -> tuple[TrainState, dict]:
        """The state of ``step`` on the shardings of ``abstract``, and its data state."""
        found = self._manager.restore(step, args=ocp.args.Composite(
            params=ocp.args.StandardRestore(abstract.params),
            optimizer=ocp.args.StandardRestore({"step": abstract.step, "state": abstract.optimizer}),
            data=ocp.args.JsonRestore()))
        return TrainState(found["optimizer"]["step"], found["params"], found["optimizer"]["state"]), found["data"]

    def restore_params(self, step: int, abstract):
        """Only the parameters of ``step``."""
        return self._manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract)))["params"]

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def load_weights(path, *, dtype=None, mesh: Mesh | None = None) -> tuple[ModelConfig, dict, epath.Path]:
    """Opens a trained run or a Hugging Face folder.

    Args:
      path: a run's folder (newest checkpoint) or a folder with ``config.json`` and safetensors.
      dtype: of the parameters; default as stored.

    Returns:
      ``(config, parameter tree, folder of config.json and the tokenizer)``.

    Raises:
      InputError: neither of the two, or a run without a finished checkpoint.
    """
    folder = epath.Path(path)
    if (folder / "config.json").exists():
        model = from_pretrained(str(folder), dtype=dtype, mesh=mesh)
        return model.config, model.params, folder
    if not (folder / MODEL / "config.json").exists():
        raise InputError("--checkpoint", str(path), "is neither a training run nor a Hugging Face model folder")
    checkpoints = Checkpoints(folder)
    try:
        if checkpoints.latest is None:
            raise InputError("--checkpoint", str(path), "this run has no finished checkpoint yet")
        config = ModelConfig.from_hf(json.loads((folder / MODEL / "config.json").read_text()))
        stored = json.loads((folder / "run.json").read_text())["stored_dtype"]
        mesh = mesh or make_mesh(devices=jax.devices()[:1])
        params = checkpoints.restore_params(checkpoints.latest, abstract_params(config, dtype or stored, mesh))
    finally:
        checkpoints.close()
    return config, params, folder / MODEL
