"""Checkpoints: parameters, optimizer and data state in one atomic Orbax step, written while training goes on.

A run's folder holds ``checkpoints/<step>/`` and ``model/`` (config.json and tokenizer, no weights), which together
open like any model: ``load_weights`` takes a run's folder or a Hugging Face folder alike.

Every step carries fingerprints of its arrays. They do not depend on the mesh, so a step that was damaged on disk is
found out wherever it is restored, and the one before it is taken instead.
"""

import json
import shutil
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh
from orbax.checkpoint import checkpoint_managers

from polaris_jax.errors import InputError, RunError
from polaris_jax.models import from_pretrained
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import abstract_params
from polaris_jax.sharding import make_mesh
from polaris_jax.storage import is_remote
from polaris_jax.training import cluster
from polaris_jax.training.fingerprint import fingerprint
from polaris_jax.training.state import TrainState

CHECKPOINTS, MODEL = "checkpoints", "model"


class Checkpoints:
    """The checkpoints of one run.

    Args:
      workdir: the run's folder, local or gs://.
      keep: how many of the newest to keep; the one with the smallest loss on held-out authors stays besides.
      asynchronous: return from ``save`` before everything is on disk.
      read_only: change nothing in the folder.
    """

    def __init__(self, workdir, *, keep: int = 2, asynchronous: bool = True, read_only: bool = False):
        best = checkpoint_managers.BestN(get_metric_fn=lambda metrics: metrics["loss"], reverse=True, n=1,
                                         keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(keep), best]),
            enable_async_checkpointing=asynchronous, cleanup_tmp_directories=not read_only, read_only=read_only)
        self.folder = epath.Path(workdir) / CHECKPOINTS if is_remote(workdir) else (
            epath.Path(workdir).resolve() / CHECKPOINTS)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    @property
    def steps(self) -> list[int]:
        """All complete steps, ascending."""
        return sorted(self._manager.all_steps())

    @property
    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step with the smallest held-out loss, or None where nothing was evaluated."""
        losses = {step: metrics["loss"] for step in self.steps if (metrics := self._manager.metrics(step))}
        return min(losses, key=losses.get) if losses else None

    def save(self, step: int, state: TrainState, data: dict, *, held_out_loss: float | None = None) -> None:
        """Writes a step, unless it is there already. ``data`` is the JSON state of the input pipeline.

        Raises:
          RunError: the folder takes no more.
        """
        if step in self._manager.all_steps():
            return
        moments = {"step": state.step, "state": state.optimizer}
        about = {"data": data, "fingerprints": {"params": fingerprint(state.params), "optimizer": fingerprint(moments)}}
        metrics = None if held_out_loss is None else {"loss": held_out_loss}
        self._guarded(f"step {step}", lambda: self._manager.save(step, metrics=metrics, args=ocp.args.Composite(
            params=ocp.args.StandardSave(state.params), optimizer=ocp.args.StandardSave(moments),
            data=ocp.args.JsonSave(about))))

    def restore(self, step: int, abstract: TrainState) -> tuple[TrainState, dict]:
        """The state of ``step`` on the shardings and in the dtypes of ``abstract``, and its data state.

        Raises:
          RunError: what is stored is incomplete, or not what was saved.
        """
        moments = {"step": abstract.step, "state": abstract.optimizer}
        try:
            stored = self._manager.item_metadata(step)
            as_stored = [jax.tree.map(_in_dtype_of, wanted, _tree(found)) for wanted, found in (
                (abstract.params, stored["params"]), (moments, stored["optimizer"]))]
            found = self._manager.restore(step, args=ocp.args.Composite(
                params=ocp.args.StandardRestore(as_stored[0]), optimizer=ocp.args.StandardRestore(as_stored[1]),
                data=ocp.args.JsonRestore()))
            fits = all(fingerprint(found[part]) == numbers for part, numbers in found["data"]["fingerprints"].items())
        except Exception as error:
            raise RunError(f"checkpoint {step} of {self.folder} cannot be read ({_brief(error)})") from error
        if not fits:
            raise RunError(f"checkpoint {step} of {self.folder} is damaged: its numbers are not those that were saved")
        cast = jax.tree.map(lambda x, like: x.astype(like.dtype), (found["params"], found["optimizer"]),
                            (abstract.params, moments))
        return TrainState(cast[1]["step"], cast[0], cast[1]["state"]), found["data"]["data"]

    def restore_newest(self, abstract: TrainState, say: Callable[[str], None]) -> tuple[TrainState, dict] | None:
        """The newest step that is whole; damaged ones after it are reported and deleted. None: there is no step.

        Raises:
          RunError: there are steps, and all of them are damaged.
        """
        problem = None
        for step in reversed(self.steps):
            try:
                found = self.restore(step, abstract)
            except RunError as error:
                found, problem = None, error
            if not cluster.agreed(int(found is None)):
                return found
            say(f"{problem or 'damaged on another host'}; going back to the one before")
            if step != self.steps[0]:
                self._manager.delete(step)
        if problem:
            raise RunError(f"no checkpoint of {self.folder} can be used; the last problem: {problem}")
        return None

    def restore_params(self, step: int, abstract):
        """Only the parameters of ``step``."""
        return self._manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract)))["params"]

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
          RunError: the folder took no more.
        """
        self._guarded("the last one", self._manager.wait_until_finished)

    def close(self) -> None:
        self._manager.close()

    def _guarded(self, which: str, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError, RuntimeError) as error:
            space = ""
            if not is_remote(str(self.folder)):
                space = f"; {shutil.disk_usage(self.folder).free / 1e9:.1f} GB are free there"
            raise RunError(f"checkpoint of {which} cannot be written to {self.folder} ({_brief(error)}){space}; make "
                           "room and run the same command again") from error


def _tree(metadata):
    """The tree of arrays' metadata of one stored item."""
    return getattr(metadata, "tree", metadata)


def _in_dtype_of(wanted, found):
    return jax.ShapeDtypeStruct(wanted.shape, found.dtype, sharding=wanted.sharding)


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def load_weights(
    path, *, dtype=None, mesh: Mesh | None = None, step: int | str | None = None
) -> tuple[ModelConfig, dict, epath.Path]:
    """Opens a trained run or a Hugging Face folder.

    Args:
      path: a run's folder (newest checkpoint) or a folder with ``config.json`` and safetensors.
      dtype: of the parameters; default as stored.
      step: of a run: a number, or ``best`` (smallest held-out loss); default the newest.

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
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        chosen = checkpoints.latest if step is None else checkpoints.best if step == "best" else step
        if chosen not in checkpoints.steps:
            known = ", ".join(map(str, checkpoints.steps))
            raise InputError("--checkpoint", str(path), f"has no checkpoint {chosen}; there is {known}" if known else
                             "this run has no finished checkpoint yet")
        config = ModelConfig.from_hf(json.loads((folder / MODEL / "config.json").read_text()))
        stored = json.loads((folder / "run.json").read_text())["stored_dtype"]
        mesh = mesh or make_mesh(devices=jax.devices()[:1])
        params = checkpoints.restore_params(chosen, abstract_params(config, dtype or stored, mesh))
    finally:
        checkpoints.close()
    return config, params, folder / MODEL
