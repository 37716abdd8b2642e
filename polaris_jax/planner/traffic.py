"""The expected traffic of the schedule in ``training``, for use without a compiled program.

Bytes are counted as in ``hlo.Collective``. It is assumed that keys hide behind attention while they travel, that the
collectives which ``config.model.overlap`` names hide behind matrix products, and that the device waits for the rest.
"""

import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.ops.context_recurrence import scan_hops
from polaris_jax.planner.analytic import context_group, map_bytes, state_bytes
from polaris_jax.planner.hlo import DCN, ICI, Collective
from polaris_jax.sharding import shares_over_slices
from polaris_jax.training.config import TrainConfig, context_method, reduce_dtype
from polaris_jax.training.tensor_axis import model_shard


def expected_collectives(
    config: TrainConfig, model: ModelConfig, sizes: dict[str, int], slices: int = 1
) -> list[Collective]:
    """The collectives per device and step over so many slices, most bytes first."""
    rows = [
        *_context(config, model, sizes),
        *_recurrent(config, model, sizes),
        *_tensor(config, model, sizes),
        *_weights(config, model, sizes),
        *_replicas(config, model, sizes, slices),
        *_fsdp_over_slices(config, model, sizes, slices),
    ]
    return sorted((row for row in rows if row.bytes), key=lambda row: -row.bytes)


def _context(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> list[Collective]:
    """Keys, values and their gradients, and the exchange of heads."""
    context, group = sizes["context"], context_group(config, model, sizes)
    if context == 1:
        return []
    tokens = config.data.batch_size // (sizes["data"] * sizes["fsdp"]) * (config.data.window // context)
    own = model_shard(model, sizes["tensor"])
    heads = tokens * own.num_heads * model.head_dim * 2  # bytes of queries, bfloat16
    keys = 2 * tokens * own.num_kv_heads * model.head_dim * 2  # keys and values
    layers = sum(kind != "linear_attention" for kind in model.layer_types)
    again = 1 if config.model.remat == "full" else 0  # the ring runs again in the backward pass

    def row(kind: str, where: str, times: int, size: int, cover: str) -> Collective:
        return Collective(kind, f"{where}, in a loop", layers * times, layers * size, cover != "nothing", cover)

    if context_method(config) == "all_gather":
        return [
            row("all-gather", "forward", 1, context * keys, "matmul"),
            row("all-gather", "backward", 1 + again, (1 + again) * context * keys, "matmul"),
            row("reduce-scatter", "backward", 1, 2 * context * keys, "matmul"),
        ]
    hops = context // group - 1
    # Gradients of keys are float32 and take one hop more than keys; nothing hides this last hop.
    rows = [
        row("collective-permute", "forward", hops, hops * keys, "attention"),
        row("collective-permute", "backward", (2 + again) * hops, (3 + again) * hops * keys, "attention"),
        row("collective-permute", "backward", min(hops, 1), min(hops, 1) * 2 * keys, "nothing"),
    ]
    if group > 1:
        exchange = 2 * heads + keys  # queries and output, keys and values
        rows += [
            row("all-to-all", "forward", 4, exchange, "nothing"),
            row("all-to-all", "backward", 8, (1 + again) * exchange + exchange, "nothing"),
        ]
    return rows


def _recurrent(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> list[Collective]:
    """The maps of recurrent layers' halves (float32, the same for any row length), and the convolution's tails."""
    context = sizes["context"]
    layers = model.layer_types.count("linear_attention")
    if context == 1 or not layers:
        return []
    own = model_shard(model, sizes["tensor"]).delta_rule
    rows = config.data.batch_size // (sizes["data"] * sizes["fsdp"])
    pair, memory = map_bytes(model, sizes)
    # Two scans, of the early halves and of the late ones; the last hop of each sends no map, only the memory.
    hops = scan_hops(context)
    sent, arrays = rows * 2 * (hops * pair - (pair - memory)), 2 * (2 * hops - 1)
    tail = rows * (own.conv_kernel - 1) * own.channels * jnp.dtype(config.model.compute_dtype).itemsize
    # In the backward pass: how often the forward scan runs again, and how often tails are sent.
    again, tails = {"none": (0, 1), "attention": (0, 2)}.get(config.model.remat, (1, 2))

    def row(where: str, times: int, size: int) -> Collective:
        return Collective("collective-permute", where, layers * times, layers * size, False, "nothing")

    return [
        row("forward, in a loop", arrays + 2, sent + 2 * tail),
        row("backward, in a loop", (1 + again) * arrays + 2 * tails, (1 + again) * sent + 2 * tails * tail),
    ]


def _tensor(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> list[Collective]:
    """Sums over the devices that share a layer: of activations after each half, of gradients before each half."""
    if sizes["tensor"] == 1:
        return []
    size = config.data.batch_size // (sizes["data"] * sizes["fsdp"]) * (config.data.window // sizes["context"])
    size *= model.hidden_size * 2
    again = 0 if config.model.remat in ("none", "dots") else 1  # the first half's sum is computed again

    def row(where: str, times: int) -> Collective:
        return Collective("all-reduce", where, times, times * size, False, "nothing")

    return [
        row("forward, in a loop", 2 * model.num_layers),
        row("backward, in a loop", (2 + again) * model.num_layers),
        row("once", 2),  # rows of the embedding; the gradient that leaves the head
    ]


def _weights(config: TrainConfig, model: ModelConfig, sizes: dict[str, int]) -> list[Collective]:
    """Whole weights for every layer and pass, gradients back to their shards, matrices to their owners in Muon."""
    state, spread = state_bytes(config, model, sizes), sizes["fsdp"] * sizes["context"]
    parts = config.train.microbatches
    beside = config.model.overlap == "all"

    def row(kind: str, where: str, times: int, size: int, hidden: bool) -> Collective:
        return Collective(kind, where, times, size, hidden, "matmul" if hidden else "nothing")

    rows = []
    if spread > 1:
        whole, times = state.gathered * spread * parts, 7 * model.num_layers * parts
        gradients = int(state.layers * spread * parts * _wider(config, sizes))
        rows += [
            row("all-gather", "forward, in a loop", times, whole, beside),
            row("all-gather", "backward, in a loop", times, whole, beside),
            row("reduce-scatter", "backward, in a loop", times, gradients, beside),
            row("all-to-all", "optimizer, once", 6, 2 * state.exchanged, False),
        ]
    return rows


def _wider(config: TrainConfig, sizes: dict[str, int]) -> float:
    """Bytes of a gradient's number between devices, over those in memory."""
    return jnp.dtype(reduce_dtype(config, sizes)).itemsize / jnp.dtype(config.model.compute_dtype).itemsize


def _replicas(config: TrainConfig, model: ModelConfig, sizes: dict[str, int], slices: int) -> list[Collective]:
    """Gradients summed over ``data``, every replica's share of Muon's updates gathered along it.

    Both are sent as shards: a device sends to other slices only its part of its own slice's sums or updates. Empty
    slots of Muon's batches, where matrices do not divide by devices, are not counted.
    """
    state, data = state_bytes(config, model, sizes), sizes["data"]
    over = shares_over_slices(sizes, slices)["data"]
    inside = data // over
    gradients = int(state.gradients * _wider(config, sizes))
    rows = []
    for network, peers, parts in ((ICI, inside, 1), (DCN, over, inside)):
        if peers > 1:
            rows += [
                Collective("all-reduce", "optimizer, once", 7, gradients // parts, False, "nothing", network),
                Collective("all-gather", "optimizer, once", 4, state.exchanged // parts, False, "nothing", network),
            ]
    return rows


def _fsdp_over_slices(config: TrainConfig, model: ModelConfig, sizes: dict[str, int], slices: int) -> list[Collective]:
    """The traffic that ``fsdp`` adds if it reaches over slices: shards of weights, gradients and Muon's matrices."""
    over = shares_over_slices(sizes, slices)["fsdp"]
    if over == 1:
        return []
    state, parts = state_bytes(config, model, sizes), config.train.microbatches
    times, size = 7 * model.num_layers * parts, over * state.gathered * parts
    gradients = int(over * state.layers * parts * _wider(config, sizes))
    return [
        Collective("all-gather", "forward, in a loop", times, size, False, "nothing", DCN),
        Collective("all-gather", "backward, in a loop", times, size, False, "nothing", DCN),
        Collective("reduce-scatter", "backward, in a loop", times, gradients, False, "nothing", DCN),
        Collective("all-to-all", "optimizer, once", 6, 2 * state.exchanged, False, "nothing", DCN),
    ]
