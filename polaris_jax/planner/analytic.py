"""Estimates the memory of a step by arithmetic: what every device holds in each phase, and the largest phase.

It follows the schedule of ``training``, so it is valid only for that step. State, saved activations and gradients are
exact sums over shards; the workspaces list the buffers that are alive together in the compiler's own assignment (v5p,
libtpu 0.0.42). ``tests/planner/test_plan.py`` compares it with the compiler.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.lora import split_table
from polaris_jax.models.weights import Table, abstract_tree
from polaris_jax.ops.context import head_group
from polaris_jax.ops.delta_rule import CHUNK
from polaris_jax.optim import GroupRule, label_params, stored_dtype
from polaris_jax.optim.groups import DEFAULT_RULES
from polaris_jax.sharding import weight_spec
from polaris_jax.training.config import TrainConfig, context_method, lora
from polaris_jax.training.layer_scan import run_count
from polaris_jax.training.sharded_loss import layer_schedule
from polaris_jax.training.tensor_axis import model_shard

_HEAP = 1.02  # size of the compiler's heap over the sum of its live buffers: there are holes between them
PARTS = ("parameters", "optimizer", "gradients", "saved_activations", "workspace")


@dataclass(frozen=True)
class _Sizes:
    """Stands for a mesh where only the sizes of its axes matter."""

    shape: dict[str, int]


@dataclass(frozen=True)
class StateBytes:
    """Bytes per device of weights, optimizer state and gradients.

    Attributes:
      parameters: trained and frozen weights. gathered: shards of the layers' weights that are gathered.
      layers: gradients of all blocks. largest: those of the largest group of equal matrices, which Newton-Schulz joins
        to one batch over several devices. stack: those of the largest array. exchanged: the part of ``layers`` that
        goes to the matrices' owners and back.
    """

    parameters: int
    optimizer: int
    working_copy: int
    gradients: int
    layers: int
    largest: int
    stack: int
    gathered: int
    exchanged: int


@dataclass(frozen=True)
class Memory:
    """Bytes per device at the peak: HBM by part, and host memory; ``phase`` is where the peak lies."""

    parts: dict[str, int]
    host: int
    phase: str

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def local_shapes(table: Table, sizes: dict[str, int]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """One device's shard of every weight of a table, by path."""
    shapes = {}
    for path, weight in table.items():
        spec = weight_spec(_Sizes(sizes), weight.axes, weight.shape)
        entries = [(entry,) if isinstance(entry, str) else entry or () for entry in spec]
        shapes[path] = tuple(
            dim // math.prod(sizes[axis] for axis in entry) for dim, entry in zip(weight.shape, entries, strict=True)
        )
    return shapes


def state_bytes(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> StateBytes:
    """Bytes of parameters, momenta and gradients on one device."""
    recipe = config.optim.precision
    stored, momentum = jnp.dtype(stored_dtype(recipe)).itemsize, jnp.dtype(config.optim.state_dtype).itemsize
    compute = jnp.dtype(config.model.compute_dtype).itemsize if recipe == "fp32_master" else 2
    split = split_table(model, lora(config))
    weights = split.trained
    rules = (*(GroupRule(*pair) for pair in config.optim.groups), *DEFAULT_RULES)
    labels = {
        tuple(str(key.key) for key in path): label
        for path, label in jax.tree_util.tree_leaves_with_path(label_params(abstract_tree(weights, jnp.float32), rules))
    }
    shapes = local_shapes(weights, sizes)
    groups: dict[tuple[int, ...], int] = {}  # numbers per group of equal matrices
    parameters = optimizer = count = layers = stack = 0
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
                stack = max(stack, numbers)
    frozen = frozen_layers = 0
    for path, shape in local_shapes(split.frozen, sizes).items():
        weight = split.frozen[path]
        held = 1 if weight.whole_numbers else 4 if weight.float32 else jnp.dtype(config.model.compute_dtype).itemsize
        frozen += math.prod(shape) * held
        frozen_layers += math.prod(shape) * held * (path[0] == "blocks")
    copied = count * compute if recipe != "bf16_stochastic" else 0
    travelling = jnp.dtype(config.optim.newton_schulz_dtype).itemsize
    return StateBytes(
        parameters + frozen,
        optimizer,
        copied,
        count * compute,
        layers * compute,
        max(groups.values(), default=0) * travelling,
        stack * travelling,
        layers * compute + frozen_layers,
        0 if split.frozen else layers * compute,
    )


def memory(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> Memory:
    """The peak of one step on one device."""
    state = state_bytes(config, model, sizes)
    rows = config.data.batch_size // (sizes["data"] * sizes["fsdp"])
    microrows = rows // config.train.microbatches
    tokens = microrows * (config.data.window // sizes["context"])
    batch = 7 * 4 * rows * (config.data.window // sizes["context"])
    save = _saved(config, model, sizes, tokens, microrows)
    by_device = config.model.remat in ("full", "attention")  # others save the activations of all layers together
    repeats = model.num_layers // len(model.group)
    runs = run_count(repeats, layer_schedule(config).segments) if by_device else 1
    on_device = save.device + save.inputs * (not config.model.offload)
    host = save.inputs if config.model.offload else 0
    staged = 2 * save.inputs // model.num_layers if config.model.offload else 0
    parts_sum = state.gradients * 2 if config.train.microbatches > 1 else 0  # float32 sums of bfloat16 gradients
    fixed = state.working_copy + batch + parts_sum + staged
    head = _head(config, model, sizes)
    layer = _layer_backward(config, model, sizes, tokens)
    if model.recurrent:
        layer = max(layer, _recurrent_backward(config, model, sizes, tokens))
    phases = {  # (gradients alive, saved activations alive, workspace)
        "head": (
            0,
            on_device,
            head.kernel
            + head.gradient
            + 2 * tokens * model.hidden_size * 2
            + 3 * min(config.loss.chunk, tokens) * head.columns * 4,
        ),
        "backward of the last layers": (state.layers / runs + head.shard, on_device, layer),
        "backward of the first layers": (state.gradients, on_device / runs, layer),
        "optimizer": (0.75 * state.gradients, 0, 2 * state.largest)
        if math.prod(sizes.values()) > 1
        else (state.gradients, 0, state.stack + head.gradient),
    }
    phase, (gradients, saved, workspace) = max(phases.items(), key=lambda item: sum(item[1]))
    temporary = (gradients + saved + workspace + fixed) * _HEAP
    parts = dict(
        zip(
            PARTS,
            (state.parameters, state.optimizer, int(gradients), int(saved), int(temporary - gradients - saved)),
            strict=True,
        )
    )
    return Memory(parts, int(host), phase)


@dataclass(frozen=True)
class _Saved:
    """Bytes that all layers keep for the backward pass: their inputs, which may wait on the host, and the rest."""

    inputs: int
    device: int


def _saved(config: TrainConfig, model: ModelConfig, sizes: dict[str, int], tokens: int, rows: int) -> _Saved:
    own = model_shard(model, sizes["tensor"])
    width, heads = model.hidden_size, own.num_heads * model.head_dim
    keys, inner = own.num_kv_heads * model.head_dim, own.intermediate_size
    remat, recurrent = config.model.remat, model.layer_types.count("linear_attention")
    kept = {
        "full": 0,
        "attention": heads * 2 + own.num_heads * 4,
        "dots": (2 * heads + 2 * keys + 3 * inner + 2 * width) * 2,
        "none": (6 * width + 3 * heads + 4 * keys + 5 * inner) * 2,
    }[remat]
    device = (model.num_layers - recurrent) * tokens * kept
    if recurrent:
        rule = own.delta_rule
        values = rule.value_heads * rule.value_dim
        fed = {"dots": 3 * inner + 2 * width, "none": 6 * width + 5 * inner}.get(remat, 0)
        mixed = {"dots": rule.channels + values, "none": 3 * rule.channels + 6 * values}.get(remat, 0)
        entered = 2 * rows * sum(map_bytes(model, sizes)) if remat == "attention" and sizes["context"] > 1 else 0
        between = chunk_memories(model, sizes, tokens) if remat == "none" else 0
        device += recurrent * (tokens * (fed + mixed) * 2 + entered + between)
    return _Saved(model.num_layers * tokens * width * 2, device)


def map_bytes(model: ModelConfig, sizes: dict[str, int]) -> tuple[int, int]:
    """``(map, memory)`` of half a row in one recurrent layer on one device: float32 bytes, the same for any length."""
    rule = model_shard(model, sizes["tensor"]).delta_rule
    memory = 4 * rule.value_heads * rule.key_dim * rule.value_dim
    return memory + 4 * rule.value_heads * rule.key_dim**2, memory


def chunk_memories(model: ModelConfig, sizes: dict[str, int], tokens: int) -> int:
    """Bytes of the memories between chunks, which the rule's backward pass starts from."""
    return tokens // CHUNK * map_bytes(model, sizes)[1]


@dataclass(frozen=True)
class _Head:
    """The gathered output matrix in bfloat16, the float32 sum of its gradient, and one device's shard of that."""

    columns: int
    kernel: int
    gradient: int
    shard: int


def _head(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> _Head:
    columns = model.rows // (sizes["tensor"] if model.rows % sizes["tensor"] == 0 else 1)
    numbers = model.hidden_size * columns
    learns = lora(config) is None or config.adapter.embeddings
    shard = numbers * 2 // (sizes["fsdp"] * sizes["context"])
    return _Head(columns, numbers * 2, numbers * 4 * learns, shard * learns)


def context_group(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> int:
    """Neighbouring shards that exchange heads: 1 except for ``two_level``."""
    return head_group(
        context_method(config),
        config.model.context_group or None,
        sizes["context"],
        model_shard(model, sizes["tensor"]).num_kv_heads,
    )


def _layer_backward(config: TrainConfig, model: ModelConfig, sizes: dict[str, int], tokens: int) -> float:
    """Workspace of one layer's backward pass: the larger of its attention half and its feed-forward half."""
    own = model_shard(model, sizes["tensor"])
    width, heads = model.hidden_size, own.num_heads * model.head_dim
    keys, inner = own.num_kv_heads * model.head_dim, own.intermediate_size
    chunk = min(tokens, config.model.mlp_chunk or tokens)
    projected = 3 if model.family.output_gate else 2  # projections as wide as the queries: queries, a gate, the output
    weights = 2 * (projected * width * heads + 2 * width * keys)  # gathered projections, bfloat16
    feed = 3 * width * inner
    residual = tokens * width * 2  # the gradient of the residual stream
    held = tokens * (2 * heads + 2 * keys) * 2  # queries, the attention output's gradient, keys and values
    pairs = 2 * tokens * keys  # keys and values of one shard
    if context_method(config) == "all_gather":
        travelling = sizes["context"] * pairs * (2 + 4)
    elif sizes["context"] == context_group(config, model, sizes):  # exchanged once, and no ring
        travelling = pairs * (2 + 4)
    else:  # keys present and arriving; their float32 gradients: the sum, the new ones, and those in transit
        travelling = pairs * (2 * 2 + 3 * 4)
    mixing = tokens * heads * 4 + travelling
    if sizes["tensor"] > 1:
        residual *= 2  # a sum over devices does not overwrite its input
    attention = residual + held + mixing + feed * 2 + weights
    # While pieces of the row are added up, the sum of their gradients is float32, beside the gathered weights. Frozen
    # weights have none.
    sums = 0 if lora(config) else feed * (4 if chunk < tokens else 2)
    pieces = residual + tokens * width * 2 + held + feed * 2 + sums + weights + chunk * inner * 2 * 6
    return max(attention, pieces)


def _recurrent_backward(config: TrainConfig, model: ModelConfig, sizes: dict[str, int], tokens: int) -> float:
    """Workspace of the mixing half of a recurrent layer's backward pass."""
    own = model_shard(model, sizes["tensor"])
    rule, width = own.delta_rule, model.hidden_size
    values = rule.value_heads * rule.value_dim
    weights = 2 * width * (rule.channels + 2 * values) + 2 * 3 * width * own.intermediate_size
    residual = 2 * tokens * width * 2  # the gradient of the residual stream, and the normed input
    rows = tokens * 2 * (4 * rule.channels + values)  # projected, convolved, cut into chunks; gradients; the gate
    out = tokens * 4 * 2 * values  # the rule's output and its gradient, float32
    return weights + residual + rows + out + chunk_memories(model, sizes, tokens)
