"""What a decoder costs, from its config alone: parameters by part, arithmetic per token, memory while writing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import weight_table


@dataclass(frozen=True)
class Flops:
    """Floating-point operations (a multiply-add is two): in matrices, and in mixing tokens."""

    dense: float
    attention: float

    @property
    def total(self) -> float:
        return self.dense + self.attention

    def trained(self, *, adapter: bool = False) -> float:
        """Of a training step whose forward pass this is: the same again for the gradients of the activations, and of
        the weights; the latter are not made where an adapter leaves the matrices frozen (its own are not counted)."""
        return (2 if adapter else 3) * self.dense + 3 * self.attention


@dataclass(frozen=True)
class Description:
    """The costs of ``config``.

    Attributes:
      parameters: parameters by part (``embed``, ``attention``, ``linear_attention``, ``mlp``, ``norm``, ``head``); no
        vocabulary padding, no entry for a part that the model lacks.
    """

    config: ModelConfig
    parameters: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    def flops_per_token(self, length: int) -> Flops:
        """Forward pass, averaged over the tokens of a document of ``length`` tokens; ``Flops.trained`` is a step's.

        A causal token sees half the document on average, within its window if it has one.
        """
        window = min(self.config.sliding_window or length, length)
        return self.flops(1, {"full_attention": length / 2, "sliding_attention": window - window**2 / (2 * length)})

    def flops(self, tokens: float, seen: Mapping[str, float]) -> Flops:
        """Forward pass over ``tokens`` tokens; for training see ``Flops.trained``.

        Args:
          seen: per type of attention layer, keys that are visible to a query, summed over the queries.
        """
        config = self.config
        matrices = self.total - self.parameters["norm"] - self.parameters["embed"]
        matrices += config.vocab_size * config.hidden_size if config.tie_embeddings else 0
        mixing = 0.0
        for kind in config.layer_types:
            if kind == "linear_attention":
                sizes = config.delta_rule
                # Predict, write and read the memory matrix; the convolution's taps are parameters, counted as dense.
                mixing += 6 * sizes.value_heads * sizes.key_dim * sizes.value_dim * tokens
            else:
                mixing += 4 * config.num_heads * config.head_dim * seen[kind]
        return Flops(dense=2.0 * matrices * tokens, attention=float(mixing))

    def cache_bytes(self, length: int, *, bytes_per_number: int = 2) -> int:
        """Memory of one row's cache while writing, for up to ``length`` tokens; the recurrent memory is float32."""
        config, size = self.config, 0
        for kind in config.layer_types:
            if kind == "linear_attention":
                sizes = config.delta_rule
                size += 4 * sizes.value_heads * sizes.key_dim * sizes.value_dim
                size += bytes_per_number * (sizes.conv_kernel - 1) * sizes.channels
            else:
                size += 2 * bytes_per_number * length * config.num_kv_heads * config.head_dim
        return size


def describe(config: ModelConfig) -> Description:
    """The costs of a decoder; nothing is allocated."""
    parameters: dict[str, int] = {}
    for path, weight in weight_table(replace(config, vocab_rows=0)).items():
        part = path[2] if path[0] == "blocks" else path[0]
        part = "norm" if part.startswith("norm") else part
        parameters[part] = parameters.get(part, 0) + math.prod(weight.shape)
    return Description(config, parameters)
