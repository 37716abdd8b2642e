"""Sorts the compiler's temporaries into gradients, saved activations and workspace, by their shapes."""

from dataclasses import dataclass

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.lora import split_table
from polaris_jax.planner.analytic import context_group, local_shapes
from polaris_jax.planner.dump import Buffer, alive, peak_moment
from polaris_jax.training.config import TrainConfig, lora
from polaris_jax.training.tensor_axis import model_shard

_SAMPLES = 240


@dataclass(frozen=True)
class Shapes:
    """How a buffer is recognised.

    A saved activation is a stack over layers of a layer's input, or of attention's output or log-sum-exp. A gradient is
    a stack of one device's shards of a weight, or its shard of a weight outside the layers.
    """

    layers: int
    activations: frozenset[tuple[int, ...]]
    weights: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> "Shapes":
        rows = config.data.batch_size // (sizes["data"] * sizes["fsdp"]) // config.train.microbatches
        length, group = config.data.window // sizes["context"], context_group(config, model, sizes)
        heads = (rows, model_shard(model, sizes["tensor"]).num_heads // group, length * group)
        shapes = local_shapes(split_table(model, lora(config)).trained, sizes)
        return cls(
            model.num_layers,
            frozenset({(rows, length, model.hidden_size), heads, (*heads, model.head_dim)}),
            frozenset(shape[1:] if path[0] == "blocks" else shape for path, shape in shapes.items()),
        )

    def part(self, buffer: Buffer) -> str:
        dims = buffer.dims
        stacked = len(dims) > 1 and 1 < dims[0] <= self.layers
        if stacked and dims[1:] in self.activations:
            return "saved_activations"
        if dims in self.weights or (stacked and dims[1:] in self.weights):
            return "gradients"
        return "workspace"


def peak_parts(buffers: list[Buffer], shapes: Shapes) -> dict[str, int]:
    """Bytes of gradients and saved activations alive at the peak."""
    found = {"gradients": 0, "saved_activations": 0}
    for buffer in alive(buffers, peak_moment(buffers)):
        part = shapes.part(buffer)
        if part in found:
            found[part] += buffer.size
    return found


def timeline(buffers: list[Buffer], shapes: Shapes) -> list[tuple[int, dict[str, int]]]:
    """Bytes by part at evenly spread moments of the schedule (and at the peak)."""
    if not buffers:
        return []
    last = max(buffer.end for buffer in buffers)
    moments = sorted({round(i * last / _SAMPLES) for i in range(_SAMPLES + 1)} | {peak_moment(buffers)})
    rows = []
    for moment in moments:
        parts = {"gradients": 0, "saved_activations": 0, "workspace": 0}
        for buffer in alive(buffers, moment):
            parts[shapes.part(buffer)] += buffer.size
        rows.append((moment, parts))
    return rows
