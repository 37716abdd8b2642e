"""Checkpoints: parameters, optimizer and data state in one atomic Orbax step, written while training goes on.

A run's folder holds ``checkpoints/<step>/`` and ``model/`` (config.json and tokenizer, no weights), which together
open like any model: ``load_weights`` takes a run's folder or a Hugging Face folder alike.

Every step carries fingerprints of its arrays. They do not depend on the mesh. So a run on any mesh notices a step that
was damaged on disk, and restores the step before it.
"""

import json
import math
import os
import shutil
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh
from jax.typing import DTypeLike
from orbax.checkpoint import checkpoint_managers

from polaris_jax import storage
from polaris_jax.errors import InputError, RunError
from polaris_jax.models.adapters import merge_adapter
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import open_folder
from polaris_jax.models.loading import load_held
from polaris_jax.models.lora import Held, split_table
from polaris_jax.models.model_folder import ModelFolder, find_model_folder
from polaris_jax.models.orbax_folder import open_model, read_orbax
from polaris_jax.models.saving import table_tensors
from polaris_jax.models.weights import abstract_params, abstract_tree
from polaris_jax.sharding import make_mesh
from polaris_jax.training import cluster
from polaris_jax.training.fingerprint import fingerprint
from polaris_jax.training.replica import from_first_replica, is_reading, on_mesh, reading_replica
from polaris_jax.training.run_adapter import run_adapter
from polaris_jax.training.state import TrainState

CHECKPOINTS = "checkpoints"
ITEMS = ("params", "optimizer")
# Seconds that the processes wait for each other to write a step. When one process has lost the bucket, the others end
# after this time. (Orbax waits twenty minutes.)
SAVE_TIMEOUT = 600


class Checkpoints:
    """The checkpoints of one run.

    Args:
      workdir: the run's folder, local or gs://.
      keep: how many of the newest to keep; the one with the smallest loss on held-out authors stays besides.
      asynchronous: return from ``save`` before everything is on disk.
      read_only: change nothing in the folder.
    """

    def __init__(
        self, workdir: str | os.PathLike, *, keep: int = 2, asynchronous: bool = True, read_only: bool = False
    ):
        self._losses: dict[int, float] = {}
        self.folder = (
            epath.Path(workdir) / CHECKPOINTS
            if storage.is_remote(workdir)
            else (epath.Path(workdir).resolve() / CHECKPOINTS)
        )
        self._manager = (
            None
            if read_only
            else ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                        [checkpoint_managers.LatestN(keep), _Best(self._held_out_loss)]
                    ),
                    enable_async_checkpointing=asynchronous,
                    cleanup_tmp_directories=True,
                    async_options=ocp.AsyncOptions(timeout_secs=SAVE_TIMEOUT),
                ),
            )
        )

    def _writable(self) -> ocp.CheckpointManager:
        if self._manager is None:
            raise ValueError("opened with read_only=True")
        return self._manager

    @property
    def steps(self) -> list[int]:
        """All complete steps, ascending."""
        if self._manager is not None:
            return sorted(self._manager.all_steps())
        found = ocp.path.step.standard_name_format().find_all(self.folder) if self.folder.exists() else ()
        return sorted(step.step for step in found)

    @property
    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return max(self.steps, default=None)

    @property
    def best(self) -> int | None:
        """The step with the smallest held-out loss, or None where nothing was evaluated."""
        best = min(self.steps, key=self._held_out_loss, default=None)
        return None if best is None or math.isinf(self._held_out_loss(best)) else best

    def choose(self, wanted: int | str | None) -> int:
        """The requested step: a number, ``best``, or None for the newest.

        Raises:
          InputError: there is none, or not this one.
        """
        if not self.steps:
            raise InputError("--checkpoint", str(self.folder), "this run has no finished checkpoint yet")
        if wanted == "best" and self.best is None:
            raise InputError("--step", wanted, f"no step of {self.folder} was evaluated; set config.eval.every")
        chosen = self.latest if wanted is None else self.best if wanted == "best" else wanted
        if chosen not in self.steps:
            newest = ", ".join(map(str, self.steps[-20:]))
            raise InputError("--step", wanted, f"the newest steps of {self.folder} are {newest}")
        return chosen

    def _held_out_loss(self, step: int) -> float:
        """The held-out loss of a step; infinite when the step was not evaluated or cannot be read."""
        if step not in self._losses:
            try:
                loss = json.loads((self.folder / str(step) / "data" / "metadata").read_text())["held_out_loss"]
            except (OSError, ValueError, LookupError, TypeError):
                loss = None
            self._losses[step] = loss if isinstance(loss, float) else math.inf
        return self._losses[step]

    def save(self, step: int, state: TrainState, data: dict, *, held_out_loss: float | None = None) -> None:
        """Writes a step, unless it exists. ``data`` is the JSON state of the input pipeline.

        Raises:
          RunError: the folder takes no more.
        """
        manager = self._writable()
        if step in manager.all_steps():
            return
        moments = {"step": state.step, "state": state.optimizer}
        about = {
            "data": data,
            "held_out_loss": held_out_loss,
            "fingerprints": {"params": fingerprint(state.params), "optimizer": fingerprint(moments)},
        }
        self._losses[step] = math.inf if held_out_loss is None else held_out_loss
        self._guarded(
            f"step {step}",
            lambda: manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    optimizer=ocp.args.StandardSave(moments),
                    data=ocp.args.JsonSave(about),
                ),
            ),
        )

    def restore(self, step: int, abstract: TrainState) -> tuple[TrainState, dict]:
        """The state of ``step`` on the shardings and in the dtypes of ``abstract``, and its data state.

        Where the mesh has replicas of the state in processes of their own (several slices), the first one reads, and
        the others get it from there.

        Raises:
          RunError: what is stored is incomplete, or not what was saved.
        """
        moments = {"step": abstract.step, "state": abstract.optimizer}
        wanted = {"params": abstract.params, "optimizer": moments}
        replica = reading_replica(abstract.step.sharding)
        found: Any = None
        problem = None
        try:
            found = self._read(step, wanted, replica)
        except Exception as error:
            problem = RunError(f"checkpoint {step} of {self.folder} cannot be read ({_brief(error)})")
            problem.__cause__ = error
        if cluster.all_max(int(found is None)):  # the next call needs all processes
            raise problem or RunError(f"checkpoint {step} of {self.folder} cannot be read by another process")
        if replica:
            found |= {name: from_first_replica(found[name], tree) for name, tree in wanted.items()}
        if not _whole(found):
            raise RunError(f"checkpoint {step} of {self.folder} is damaged: its numbers are not those that were saved")
        params, moments = jax.tree.map(
            lambda x, like: x.astype(like.dtype), (found["params"], found["optimizer"]), (abstract.params, moments)
        )
        return TrainState(moments["step"], params, moments["state"]), found["data"]["data"]

    def _read(self, step: int, wanted: dict[str, Any], replica: Mesh | None = None) -> dict[str, Any]:
        """The items of a step in the dtypes in which they are stored, and ``data``.

        Every process reads for itself, without meeting the others: one of them may find what the others do not read.

        Args:
          replica: items are read by its processes only, and lie on it; to the others they are None.
        """
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=str(jax.process_index()),
        )
        # Handlers for unused items too: Orbax warns about items without one.
        handlers = {name: ocp.StandardCheckpointHandler(multiprocessing_options=alone) for name in ITEMS}
        handlers["data"] = ocp.JsonCheckpointHandler(multiprocessing_options=alone)
        composite = ocp.CompositeCheckpointHandler(
            composite_options=ocp.CompositeOptions(multiprocessing_options=alone), **handlers
        )
        with ocp.Checkpointer(composite, multiprocessing_options=alone) as reader:
            items = {}
            if replica is None or is_reading(replica):
                stored = reader.metadata(self.folder / str(step)).item_metadata
                items = {name: _as_stored(tree, stored[name]) for name, tree in wanted.items()}
                items = items if replica is None else on_mesh(items, replica)
            found = reader.restore(
                self.folder / str(step),
                ocp.args.Composite(
                    data=ocp.args.JsonRestore(),
                    **{name: ocp.args.StandardRestore(tree) for name, tree in items.items()},
                ),
            )
            return dict.fromkeys(wanted) | dict(found.items())

    def restore_newest(self, abstract: TrainState, say: Callable[[str], None]) -> tuple[TrainState, dict] | None:
        """The newest step that is whole; damaged ones after it are reported and deleted. None: there is no step.

        Raises:
          RunError: there are steps, and all of them are damaged.
        """
        damaged, problem = [], None
        for step in reversed(self.steps):
            try:
                found = self.restore(step, abstract)
            except RunError as error:
                problem = error
                damaged.append(step)
                continue
            for later in damaged:  # only now is it certain that the run does not need them
                self._writable().delete(later)
            if damaged:
                say(f"{problem}; going back to step {step}")
            return found
        if problem:
            raise RunError(f"no checkpoint of {self.folder} can be used; the last problem: {problem}")
        return None

    def restore_params(self, step: int, abstract: Any) -> Any:
        """Only the parameters of ``step``, on the shardings and in the dtypes of ``abstract``.

        Raises:
          RunError: what is stored is incomplete, or not what was saved.
        """
        try:
            found = self._read(step, {"params": abstract})
        except Exception as error:
            raise RunError(f"checkpoint {step} of {self.folder} cannot be read ({_brief(error)})") from error
        if not _whole(found):
            raise RunError(f"checkpoint {step} of {self.folder} is damaged: its numbers are not those that were saved")
        return jax.tree.map(lambda x, like: x.astype(like.dtype), found["params"], abstract)

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
          RunError: the folder took no more.
        """
        self._guarded("the last one", self._writable().wait_until_finished)

    def close(self) -> None:
        """Closes the checkpoint manager. Call ``wait`` first."""
        if self._manager is not None:
            self._manager.close()

    def _guarded(self, which: str, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError, RuntimeError) as error:
            space = ""
            if not storage.is_remote(str(self.folder)):
                space = f"; {shutil.disk_usage(self.folder).free / 1e9:.1f} GB are free there"
            raise RunError(
                f"checkpoint of {which} cannot be written to {self.folder} ({_brief(error)}){space}; make "
                "room and run the same command again"
            ) from error


class _Best(checkpoint_managers.PreservationPolicy):
    """Keeps the step with the smallest held-out loss."""

    def __init__(self, loss: Callable[[int], float]):
        self._loss = loss

    def should_preserve(self, checkpoints, *, context):
        losses = [self._loss(checkpoint.step) for checkpoint in checkpoints]
        return [math.isfinite(loss) and loss == min(losses) for loss in losses]


def _whole(found: dict[str, Any]) -> bool:
    """Whether the arrays are bit for bit those that were saved."""
    saved = found["data"]["fingerprints"]
    return all(fingerprint(found[part]) == saved[part] for part in saved if part in found)


def _as_stored(wanted, metadata):
    """The tree ``wanted`` with the dtypes in which its arrays are stored; tuples are stored as dicts or lists."""

    def leaf(path, array):
        found = getattr(metadata, "tree", metadata)
        for entry in path:
            name = next(getattr(entry, kind) for kind in ("key", "name", "idx") if hasattr(entry, kind))
            found = found[str(name) if isinstance(found, dict) else name]
        return jax.ShapeDtypeStruct(array.shape, found.dtype, sharding=array.sharding)

    return jax.tree_util.tree_map_with_path(leaf, wanted)


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def load_weights(
    path: str | os.PathLike | ModelFolder,
    *,
    dtype: DTypeLike | None = None,
    mesh: Mesh | None = None,
    step: int | str | None = None,
    held: Held = "auto",
) -> tuple[ModelConfig, dict, str]:
    """Loads a trained run or a Hugging Face folder; what an adapter's run has learned is merged into its base model.

    Args:
      path: a run's folder (newest checkpoint), a folder with ``config.json`` and weights, or either as
        ``find_model_folder`` found it.
      dtype: of the parameters; default as stored (of an adapter's run: as the base model is).
      step: of a run: a number, or ``best`` (smallest held-out loss); default the newest.
      held: how the layers' matrices are held (``models.loading.load_held``). A run's are then quantised as they are
        read, and its fingerprints, which are of whole arrays, are not compared.

    Returns:
      ``(config, parameter tree, folder of config.json and the tokenizer)``.

    Raises:
      InputError: neither of the two, or a run without a finished checkpoint.
    """
    found = path if isinstance(path, ModelFolder) else find_model_folder(path)
    if found.run is None:
        config, tensors = open_model(open_folder(found.weights), found.hf_config)
        return config, load_held(config, tensors, dtype, mesh, held), found.path
    checkpoints = Checkpoints(found.run, read_only=True)
    try:
        chosen = checkpoints.choose(step)
        config = found.config
        stored = json.loads((epath.Path(found.run) / "run.json").read_text())["stored_dtype"]
        mesh = mesh or make_mesh(devices=jax.devices()[:1])
        adapter = run_adapter(found.run)
        if adapter is not None:
            config, base = adapter.open_base()
            trained = split_table(config, adapter.lora).trained
            params = checkpoints.restore_params(chosen, abstract_tree(trained, stored, mesh))
            merged = merge_adapter(adapter.open(found.run, config, table_tensors(params, trained)), base)
            return config, load_held(config, merged, dtype, mesh, held), found.path
        if held != "auto":
            arrays = read_orbax(storage.join(found.run, CHECKPOINTS, str(chosen), "params"), config)
            return config, load_held(config, arrays, dtype, mesh, held), found.path
        params = checkpoints.restore_params(chosen, abstract_params(config, dtype or stored, mesh))
    finally:
        checkpoints.close()
    return config, params, found.path
