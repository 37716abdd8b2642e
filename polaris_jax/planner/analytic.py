"""Memory of a step from arithmetic alone: what every device holds, phase by phase, and the largest phase.

It follows the schedule that ``training`` writes down, so it is about that step and no other. State, saved activations
and gradients are exact sums over shards; the workspaces list the buffers that are alive together in the compiler's own
assignment (v5p, libtpu 0.0.42). Held against the compiler in ``tests/planner/test_analytic.py``.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import abstract_params, weight_table
from polaris_jax.ops.context import head_group
from polaris_jax.optim import GroupRule, label_params, stored_dtype
from polaris_jax.optim.groups import DEFAULT_RULES
from polaris_jax.sharding import weight_spec
from polaris_jax.training.config import context_method
from polaris_jax.training.device_program import layer_schedule

_HEAP = 1.02  # the compiler's heap over the sum of what is alive: holes between buffers
PARTS = ("parameters", "optimizer", "gradients", "saved_activations", "workspace")


@dataclass(frozen=True)
class _Sizes:
    """Stands for a mesh where only the sizes of its axes matter."""

    shape: dict[str, int]


@dataclass(frozen=True)
class State:
    """Bytes per device of what the optimizer keeps or hands on. ``layers`` and ``largest``: gradients of all blocks,
    and of the largest group of equal matrices, which Newton-Schulz joins to one batch."""

    parameters: int
    optimizer: int
    working_copy: int
    gradients: int
    layers: int
    largest: int


@dataclass(frozen=True)
class Memory:
    """Bytes per device at the peak: HBM by part, and host memory; ``phase`` is where the peak lies."""

    parts: dict[str, int]
    host: int
    phase: str

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def local_shapes(model: ModelConfig, sizes: dict[str, int]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """One device's shard of every weight, by path."""
    shapes = {}
    for path, weight in weight_table(model).items():
        spec = weight_spec(_Sizes(sizes), weight.axes, weight.shape)
        entries = [(entry,) if isinstance(entry, str) else entry or () for entry in spec]
        shapes[path] = tuple(dim // math.prod(sizes[axis] for axis in entry)
                             for dim, entry in zip(weight.shape, entries, strict=True))
    return shapes


def state_bytes(config: ConfigDict, model: ModelConfig, sizes: dict[str, int]) -> State:
    """What parameters, momenta and gradients take on one device."""
    recipe = config.optim.precision
    stored, momentum = jnp.dtype(stored_dtype(recipe)).itemsize, jnp.dtype(config.optim.state_dtype).itemsize
    compute = jnp.dtype(config.model.compute_dtype).itemsize if recipe == "fp32_master" else 2
    rules = (*(GroupRule(*pair) for pair in config.optim.groups), *DEFAULT_RULES)
    labels = {tuple(str(key.key) for key in path): label for path, label in
              jax.tree_util.tree_leaves_with_path(label_params(abstract_params(model, jnp.float32), rules))}
    weights, shapes, groups = weight_table(model), local_shapes(model, sizes), {}
    parameters = optimizer = count = layers = 0
    for path, shape in shapes.items():
        numbers = math.prod(shape)
        parameters += numbers * (4 if weights[path].float32 else stored)
        optimizer += numbers * momentum * {"muon": 1, "adamw": 2, "frozen": 0}[labels[path]]
        count += numbers
        if path[0] == "blocks":
            layers += numbers
            if labels[path] == "muon":
                group = tuple(sorted(weights[path].shape[1:]))
                groups[group] = groups.get(group, 0) + numbers
    copied = count * compute if recipe != "bf16_stochastic" else 0
    travelling = jnp.dtype(config.optim.newton_schulz_dtype).itemsize
    return State(parameters, optimizer, copied, count * compute, layers * compute,
                 max(groups.values(), default=0) * travelling)


def memory(config: ConfigDict, model: ModelConfig, sizes: dict[str, int]) -> Memory:
    """The peak of one step on one device."""
    state = state_bytes(config, model, sizes)
    rows = config.data.batch_size // (sizes["data"] * sizes["fsdp"])
    microrows = rows // config.train.microbatches
    tokens = microrows * (config.data.window // sizes["context"])
    batch = 7 * 4 * rows * (config.data.window // sizes["context"])
    save = _saved_per_layer(config, model, sizes, tokens)
    by_device = config.model.remat in ("full", "attention")  # the others save the activations of all layers as one
    runs = min(layer_schedule(config).segments, model.num_layers) if by_device else 1
    on_device = model.num_layers * (save.device + save.offloadable * (not config.model.offload))
    host = model.num_layers * save.offloadable if config.model.offload else 0
    staged = 2 * save.offloadable if config.model.offload else 0
    parts_sum = state.gradients * 2 if config.train.microbatches > 1 else 0  # float32 sums of bfloat16 gradients
    fixed = state.working_copy + batch + parts_sum + staged
    head = _head(model, sizes)
    layer = _layer_backward(config, model, sizes, tokens)
    phases = {  # (gradients alive, saved activations alive, workspace)
        "head": (0, on_device, head.kernel + head.gradient + 2 * tokens * model.hidden_size * 2
                 + 3 * min(config.loss.chunk, tokens) * head.columns * 4),
        "backward of the last layers": (state.layers / runs + head.shard, on_device, layer),
        "backward of the first layers": (state.gradients, on_device / runs, layer),
        "optimizer": (0.75 * state.gradients, 0, 2 * state.largest),
    }
    phase, (gradients, saved, workspace) = max(phases.items(), key=lambda item: sum(item[1]))
    temporary = (gradients + saved + workspace + fixed) * _HEAP
    parts = dict(zip(PARTS, (state.parameters, state.optimizer, int(gradients), int(saved),
                             int(temporary - gradients - saved)), strict=True))
    return Memory(parts, int(host), phase)


@dataclass(frozen=True)
class _Saved:
    """Bytes that one layer keeps for the backward pass."""

    offloadable: int
    device: int


def _saved_per_layer(config, model, sizes, tokens) -> _Saved:
    width, heads = model.hidden_size, model.num_heads // sizes["tensor"] * model.head_dim
    keys, inner = model.num_kv_heads // sizes["tensor"] * model.head_dim, model.intermediate_size // sizes["tensor"]
    kept = {
        "full": 0,
        "attention": heads * 2 + model.num_heads // sizes["tensor"] * 4,
        "dots": (2 * heads + 2 * keys + 3 * inner + 2 * width) * 2,
        "none": (6 * width + 3 * heads + 4 * keys + 5 * inner) * 2,
    }[config.model.remat]
    return _Saved(tokens * width * 2, tokens * kept)


@dataclass(frozen=True)
class _Head:
    """The gathered output matrix in bfloat16, the float32 sum of its gradient, and what one device keeps of that."""

    columns: int
    kernel: int
    gradient: int
    shard: int


def _head(model, sizes) -> _Head:
    columns = model.rows // sizes["tensor"]
    numbers = model.hidden_size * columns
    return _Head(columns, numbers * 2, numbers * 4, numbers * 2 // (sizes["fsdp"] * sizes["context"]))


def context_group(config: ConfigDict, model: ModelConfig, sizes: dict[str, int]) -> int:
    """Neighbouring shards that exchange heads: 1 but for ``two_level``."""
    return head_group(context_method(config), config.model.context_group or None, sizes["context"],
                      model.num_kv_heads // sizes["tensor"])


def _layer_backward(config, model, sizes, tokens) -> float:
    """Workspace of one layer's backward pass: the larger of its attention half and its feed-forward half."""
    tensor = sizes["tensor"]
    width, heads = model.hidden_size, model.num_heads // tensor * model.head_dim
    keys, inner = model.num_kv_heads // tensor * model.head_dim, model.intermediate_size // tensor
    chunk = min(tokens, config.model.mlp_chunk or tokens)
    weights = 2 * (2 * width * heads + 2 * width * keys)  # gathered projections, bfloat16
    feed = 3 * width * inner
    residual = tokens * width * 2  # the gradient that travels down
    held = tokens * (2 * heads + 2 * keys) * 2  # queries, the attention output's gradient, keys and values
    pairs = 2 * tokens * keys  # keys and values of one shard
    if context_method(config) == "all_gather":
        travelling = sizes["context"] * pairs * (2 + 4)
    elif sizes["context"] == context_group(config, model, sizes):  # exchanged once, and no ring
        travelling = pairs * (2 + 4)
    else:  # keys here and coming; their float32 gradients added up, made now, and on their way
        travelling = pairs * (2 * 2 + 3 * 4)
    mixing = tokens * heads * 4 + travelling
    attention = residual + held + mixing + feed * 2 + weights
    # While pieces of the row are added up their sum is float32, beside the gathered weights.
    sums = feed * (4 if chunk < tokens else 2)
    pieces = residual * 2 + held + feed * 2 + sums + weights + chunk * inner * 2 * 6
    return max(attention, pieces)
