"""The learner: log-probabilities and updates over packed windows, on the training mesh.

A step's windows are processed a few at a time; gradients are added up in float32 and applied once. Shares in the loss
are part of the batch, so micro-batches and meshes change memory and time, not the numbers.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.optim import apply_updates, global_norm, skipped_steps, working_copy
from polaris_jax.rl.rows import INTEGERS, Packed, Row, pack
from polaris_jax.sharding import activation_spec
from polaris_jax.training import TrainState
from polaris_jax.training.device_program import MAX_LOGITS
from polaris_jax.training.step import loss_and_gradients, make_loss

Objective = Callable


class Learner:
    """The compiled programs of a run; it holds no state.

    Args:
      config: a training config (model, loss, optim, seed) with ``rl.window`` (tokens per window) and
        ``rl.micro_windows`` (windows processed at once by each row of the mesh).
      optimizer, schedule: as for ``training.step``.
    """

    def __init__(self, config: ConfigDict, model: ModelConfig, mesh: Mesh, optimizer: optax.GradientTransformation,
                 schedule: optax.Schedule):
        self.config, self.model, self.mesh = config, model, mesh
        self.windows = config.rl.micro_windows * mesh.shape["data"] * mesh.shape["fsdp"]
        self._accumulators: dict[Objective, Callable] = {}
        recipe, compute = config.optim.precision, jnp.dtype(config.model.compute_dtype)

        def working(params, step):
            noise, rounding = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), step))
            return working_copy(recipe, params, noise, schedule(step) / config.optim.learning_rate, compute), rounding

        def finish(state: TrainState, gradients, rounding):
            updates, moments = optimizer.update(gradients, state.optimizer, state.params)
            written = apply_updates(recipe, state.params, updates, rounding)
            metrics = {"grad_norm": global_norm(gradients), "update_norm": global_norm(updates),
                       "learning_rate": schedule(state.step), "skipped_steps": skipped_steps(moments)["skipped_steps"]}
            return TrainState(state.step + 1, written, moments), metrics

        def keep_logprobs(nll, lse, batch, total):
            return jnp.zeros(()), -nll

        forward = make_loss(config, model, mesh, keep_logprobs)
        self._logprobs = jax.jit(lambda params, batch: forward(params, batch, jnp.ones(()))[1])
        self._working = jax.jit(working)
        self._finish = jax.jit(finish, donate_argnums=0)

    def pack(self, rows: list[Row]) -> Packed:
        """Rows in windows whose number divides over the mesh."""
        return pack(rows, self.config.rl.window, multiple=self.windows, shards=self.mesh.shape["context"])

    def working(self, state: TrainState) -> Any:
        """The weights of the forward pass: a copy in the compute dtype, as the precision recipe has it."""
        return self._working(state.params, state.step)[0]

    def logprobs(self, params: Any, packed: Packed) -> list[np.ndarray]:
        """Per row, the log-probability (nats, float32) of every response token under ``params``."""
        parts = [np.asarray(jax.device_get(self._logprobs(params, part))) for part in self._parts(packed, INTEGERS)]
        return packed.of_responses(np.concatenate(parts))

    def gradients(self, params: Any, packed: Packed, objective: Objective) -> tuple[tuple[jax.Array, Any], Any]:
        """``((loss, sums), gradients)`` over all windows, everything in float32.

        Args:
          params: a working copy.
          objective: as in ``rl.objective``. Make it once: each new function is compiled.
        """
        if objective not in self._accumulators:
            value_and_grad = loss_and_gradients(self.config, self.model, self.mesh, objective)

            def accumulate(params, batch):
                (loss, sums), gradients = value_and_grad(params, batch, jnp.ones(()))
                sums.pop(MAX_LOGITS, None)  # a maximum, which must not be added up
                return jax.tree.map(lambda x: x.astype(jnp.float32), ((loss, sums), gradients))

            self._accumulators[objective] = jax.jit(accumulate)
        total = None
        for part in self._parts(packed):
            new = self._accumulators[objective](params, part)
            total = new if total is None else _add(total, new)
        return total

    def update(self, state: TrainState, packed: Packed, objective: Objective) -> tuple[TrainState, dict[str, float]]:
        """One optimizer step; ``state`` is donated.

        Returns:
          ``(state, metrics)``: ``loss``, the objective's sums, ``grad_norm``, ``update_norm``, ``learning_rate``.
        """
        params, rounding = self._working(state.params, state.step)
        (loss, sums), gradients = self.gradients(params, packed, objective)
        del params
        state, metrics = self._finish(state, gradients, rounding)
        return state, jax.tree.map(float, jax.device_get({"loss": loss, **sums, **metrics}))

    def _parts(self, packed: Packed, names=None) -> Iterator[dict[str, jax.Array]]:
        sharding = NamedSharding(self.mesh, activation_spec(("batch", "sequence")))
        for start in range(0, len(packed), self.windows):
            part = packed.part(start, start + self.windows)
            yield {name: jax.make_array_from_callback(array.shape, sharding, lambda index, array=array: array[index])
                   for name, array in part.items() if names is None or name in names}


_add = jax.jit(partial(jax.tree.map, jnp.add), donate_argnums=0)
