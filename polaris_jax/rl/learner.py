"""The learner: log-probabilities and updates over packed windows, on the training mesh.

A step's windows are processed a few at a time, in one program that adds up their gradients in place, in float32. The
gradients are applied once, by the same update as in supervised training. Shares in the loss are part of the batch, so
micro-batches and meshes change memory and time, not the numbers.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.models.config import ModelConfig
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.rows import INTEGERS, Packed, TrainingRow, best_window, pack
from polaris_jax.sharding import activation_spec, fetch
from polaris_jax.training import TrainState
from polaris_jax.training.compiler_options import compiler_options
from polaris_jax.training.sharded_loss import MAX_LOGITS
from polaris_jax.training.step import Batch, Objective, Results, make_loss, summed_gradients
from polaris_jax.training.update import Update

# When a step may choose the length of its windows, a half-shard of the context axis is a multiple of this many tokens,
# to suit the tiles of the attention kernels.
GRANULE = 128


class Learner:
    """The compiled programs of a run, without state.

    Attributes:
      windows: how many the whole mesh processes at once.
      logprob_program: ``(working params, batch, frozen) -> [windows, window] float32``. update_program: as
        ``training.update.Update.apply``; the state is donated. ``gradient_program`` makes the third.

    Args:
      config: a training config (model, loss, optim, train, seed) with ``rl.window`` (tokens per window) and
        ``rl.micro_windows`` (windows processed at once by each row of the mesh).
      optimizer, schedule, labels: as for ``training.update.Update``.
    """

    def __init__(
        self,
        config: RlConfig,
        model: ModelConfig,
        mesh: Mesh,
        optimizer: optax.GradientTransformation,
        schedule: optax.Schedule,
        labels: Any = None,
    ):
        self.config, self.model, self.mesh = config, model, mesh
        self.windows = config.rl.micro_windows * mesh.shape["data"] * mesh.shape["fsdp"]
        self._options = compiler_options(mesh, config.model.overlap)
        self._summed: dict[Objective, jax.stages.Wrapped] = {}
        update = Update(config, model, mesh, optimizer, schedule, labels)

        def keep_logprobs(
            nll: jax.Array, lse: jax.Array, batch: Batch, total: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            return jnp.zeros(()), -nll

        forward = make_loss(config, model, mesh, keep_logprobs)

        def logprobs(params: Any, batch: Batch, frozen: Any) -> jax.Array:
            return forward(params, batch, jnp.ones(()), frozen)[1]

        self.logprob_program = self._jit(logprobs)
        self._working_copy = self._jit(update.working_copy)
        self.update_program = self._jit(update.apply, donate_argnums=0)

    def _jit(self, function: Callable, **how: Any) -> jax.stages.Wrapped:
        return jax.jit(function, compiler_options=self._options, **how)

    def pack(self, rows: list[TrainingRow]) -> Packed:
        """Packs rows into windows of the length with the least padding; their number divides over the mesh."""
        rl, shards = self.config.rl, self.mesh.shape["context"]
        lengths = [len(row) for row in rows]
        window = rl.window
        if rl.window_sizes > 1 and max(lengths) <= rl.window:
            window = best_window(
                lengths, rl.window, sizes=rl.window_sizes, multiple=self.windows, granule=2 * GRANULE * shards
            )
        return pack(rows, window, multiple=self.windows, shards=shards)

    def working(self, state: TrainState) -> Any:
        """A copy of the trainable weights in the compute dtype, as the precision recipe defines it."""
        return self._working_copy(state.params, state.step)

    def logprobs(self, params: Any, packed: Packed, frozen: Any = None) -> list[np.ndarray]:
        """Per row, the log-probability (nats, float32) of every response token under ``params``.

        Here and below, ``frozen`` are the weights that an adapter does not train (``TrainState.frozen``).
        """
        program = self.logprob_program
        parts = [np.asarray(fetch(program(params, part, frozen or {}))) for part in self._parts(packed)]
        return packed.of_responses(np.concatenate(parts))

    def gradients(self, params: Any, packed: Packed, objective: Objective, frozen: Any = None) -> Results:
        """``((loss, sums), gradients)`` over all windows, everything in float32.

        Args:
          params: a working copy (``working``).
          objective: as in ``rl.objective``. Make it once, because each new function is compiled.
        """
        (loss, sums), gradients = self._results(params, packed, objective, frozen)
        sums.pop(MAX_LOGITS, None)
        return (loss, sums), gradients

    def gradient_program(self, objective: Objective) -> jax.stages.Wrapped:
        """The jitted ``training.step.summed_gradients`` of this run."""
        if objective not in self._summed:
            self._summed[objective] = self._jit(summed_gradients(self.config, self.model, self.mesh, objective))
        return self._summed[objective]

    def _results(self, params: Any, packed: Packed, objective: Objective, frozen: Any) -> Results:
        if not len(packed):
            raise ValueError("no windows to learn from")
        parts = len(packed) // self.windows
        room = 1 << (parts - 1).bit_length()  # powers of two, so that few programs are compiled
        sharding = NamedSharding(self.mesh, P(None, *activation_spec(("batch", "sequence"))))

        def stacked(array: np.ndarray) -> jax.Array:
            array = np.concatenate([array, np.zeros((room * self.windows - len(array), *array.shape[1:]), array.dtype)])
            array = array.reshape(room, self.windows, *array.shape[1:])
            return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

        batches = {name: stacked(array) for name, array in packed.arrays.items()}
        return self.gradient_program(objective)(params, batches, parts, frozen or {})

    def update(self, state: TrainState, packed: Packed, objective: Objective) -> tuple[TrainState, dict[str, float]]:
        """One optimizer step; ``state`` is donated.

        Returns:
          ``(state, metrics)``: ``loss``, the objective's sums, and the metrics of ``training.update.Update.apply``.
        """
        params = self.working(state)
        (loss, sums), gradients = self._results(params, packed, objective, state.frozen)
        del params
        state, metrics = self.update_program(state, loss, gradients, sums.pop(MAX_LOGITS, None))
        return state, jax.tree.map(float, jax.device_get({"loss": loss, **sums, **metrics}))

    def _parts(self, packed: Packed) -> Iterator[dict[str, jax.Array]]:
        """The integer arrays of the windows, in parts that the mesh processes at once."""
        sharding = NamedSharding(self.mesh, activation_spec(("batch", "sequence")))
        for start in range(0, len(packed), self.windows):
            part = packed.part(start, start + self.windows)
            yield {
                name: jax.make_array_from_callback(part[name].shape, sharding, part[name].__getitem__)
                for name in INTEGERS
            }
