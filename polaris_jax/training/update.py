"""The only update: working copy before the gradients; non-finite handling, optimizer, write-back, QK-clip after them.

Supervised fine-tuning, GRPO and ORPO make their gradients in their own ways and end here. Everything is a pure
function of (config, step, arguments): the random numbers of step ``n`` come from (seed, n).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.lora import WHOLE, split_table
from polaris_jax.models.weights import table_shardings, table_tree
from polaris_jax.optim import apply_updates, global_norm, group_norms, qk_clip, skipped_steps, working_copy
from polaris_jax.training.config import StepConfig, lora
from polaris_jax.training.state import TrainState

Metrics = dict[str, jax.Array]


class Update:
    """From a state to the weights of its forward pass, and from their gradients to the next state.

    Args:
      config: its ``seed``, ``adapter``, ``optim``, ``model.compute_dtype`` and ``train.rounding_statistics`` are read.
      optimizer: of ``optim.make_optimizer``. schedule: learning rate by step.
      labels: tree of the optimizer's groups; norms are then reported for each of them too.
    """

    def __init__(
        self,
        config: StepConfig,
        model: ModelConfig,
        mesh: Mesh,
        optimizer: optax.GradientTransformation,
        schedule: optax.Schedule,
        labels: Any = None,
    ):
        self.config, self.model = config, model
        self.optimizer, self.schedule, self.labels = optimizer, schedule, labels
        self._trained = split_table(model, lora(config)).trained
        self._where = table_shardings(self._trained, mesh) if mesh.size > 1 else None

    def _keys(self, step: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Random keys for the working copy, the write-back and QK-clip."""
        noise, rounding, clipping = jax.random.split(jax.random.fold_in(jax.random.key(self.config.seed), step), 3)
        return noise, rounding, clipping

    def working_copy(self, params: Any, step: jax.Array) -> Any:
        """The weights that learn in the compute dtype, as the precision recipe makes them from ``params``."""
        optim = self.config.optim
        share = self.schedule(step) / optim.learning_rate
        compute = jnp.dtype(self.config.model.compute_dtype)
        exact = table_tree(self._trained, lambda _, weight: weight.float32)
        return working_copy(optim.precision, params, self._keys(step)[0], share, compute, exact)

    def apply(
        self, state: TrainState, loss: jax.Array, gradients: Any, max_logits: dict[str, jax.Array] | None = None
    ) -> tuple[TrainState, Metrics]:
        """One optimizer step.

        Args:
          loss: float32 scalar; when it is not finite the step changes nothing and is counted as skipped.
          gradients: tree like the parameters. max_logits: see ``sharded_loss``; None or empty: QK-clip does nothing.

        Returns:
          ``(state, metrics)``: ``learning_rate``, ``skipped_steps``, ``skipped_in_a_row``, the norms ``grad_norm``,
          ``update_norm`` and ``param_norm`` (of all, and per group as ``grad_norm/muon``), and where they apply
          ``changed_share`` and the report of ``optim.qk_clip``; float32 or int32 scalars.
        """
        recipe, clip = self.config.optim.precision, self.config.optim.qk_clip
        _, rounding, clipping = self._keys(state.step)
        gradients = self._poisoned(self._of_new_tokens(gradients), jnp.isfinite(loss))
        # Nothing of the optimizer begins before the backward pass ends: the compiler would make room for it early.
        gradients, stored, moments = jax.lax.optimization_barrier((gradients, state.params, state.optimizer))
        updates, moments = self.optimizer.update(gradients, moments, stored)
        updates = self._of_new_tokens(updates)  # weight decay moves rows that have no gradient
        written = apply_updates(recipe, stored, updates, rounding)
        metrics = {
            "learning_rate": self.schedule(state.step),
            **skipped_steps(moments),
            **self._norms("grad", gradients),
            **self._norms("update", updates),
            **self._norms("param", stored),
        }
        if self.config.train.rounding_statistics:
            metrics["changed_share"] = _changed_share(stored, written)
        if max_logits and self.config.adapter.rank:  # the weights that could be clipped are frozen
            metrics["qk_max_logit"] = jnp.max(jnp.stack([value.max() for value in max_logits.values()]))
        elif max_logits:
            # A skipped step is not clipped either: it changes nothing.
            threshold = jnp.where(moments.consecutive == 0, clip or jnp.inf, jnp.inf)
            clipped, report = qk_clip(
                recipe,
                written,
                max_logits,
                clipping,
                threshold=threshold,
                labels=self.labels,
                zero_centred_norm=self.model.family.zero_centred_norm,
            )
            written = clipped if clip else written
            metrics |= report if clip else {"qk_max_logit": report["qk_max_logit"]}
        return TrainState(state.step + 1, written, moments, state.frozen), metrics

    def _of_new_tokens(self, tree: Any) -> Any:
        """``tree`` with zeros for the tokens below ``adapter.embeddings_from``, which stay as they are."""
        first = self.config.adapter.embeddings_from
        if not first:
            return tree
        changed = dict(tree)
        for part, name in WHOLE:
            if (part, name) in self._trained:
                values = tree[part][name]
                tokens = jax.lax.broadcasted_iota(jnp.int32, values.shape, 0 if part == "embed" else 1)
                changed[part] = {**tree[part], name: jnp.where(tokens < first, jnp.zeros_like(values), values)}
        return changed

    def _norms(self, name: str, tree: Any) -> Metrics:
        if self.labels is None:
            return {f"{name}_norm": global_norm(tree, self._where)}
        found = group_norms(tree, self.labels, self._where)
        return {
            f"{name}_norm/{group}" if group else f"{name}_norm": value
            for group, value in found.items()
            if group != "frozen"
        }

    def _poisoned(self, gradients: Any, finite: jax.Array) -> Any:
        """Injects NaN when the loss is not finite, so that the optimizer skips the step.

        One array that learns is enough, and the smallest costs nothing.
        """
        leaves, structure = jax.tree.flatten(gradients)
        groups = ["adamw"] * len(leaves) if self.labels is None else jax.tree.leaves(self.labels)
        moving = [number for number, group in enumerate(groups) if group != "frozen"]
        if moving:
            smallest = min(moving, key=lambda number: leaves[number].size)
            leaves[smallest] = jnp.where(finite, leaves[smallest], jnp.nan)
        return jax.tree.unflatten(structure, leaves)


def _changed_share(before: Any, after: Any) -> jax.Array:
    """The share of stored weights that the update changed. Rounding loses the rest."""
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    return sum((a != b).sum(dtype=jnp.float32) for a, b in pairs) / float(sum(a.size for a, _ in pairs))
