"""The traffic that the schedule of ``training`` writes down: what to expect where there is no compiled program to read.

Bytes are counted as ``hlo.Collective`` counts them. Without the compiler's word, keys that travel are taken to hide
behind attention, what ``config.model.overlap`` names behind matrix products, and the rest to make the device wait.
"""

from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.planner.analytic import context_group, state_bytes
from polaris_jax.planner.hlo import Collective
from polaris_jax.training.config import context_method


def expected_collectives(config: ConfigDict, model: ModelConfig, sizes: dict[str, int]) -> list[Collective]:
    """Per device and step, most bytes first."""
    rows = [*_context(config, model, sizes), *_weights(config, model, sizes)]
    return sorted((row for row in rows if row.bytes), key=lambda row: -row.bytes)


def _context(config, model, sizes) -> list[Collective]:
    """Keys, values and their gradients, and the exchange of heads."""
    context, group = sizes["context"], context_group(config, model, sizes)
    if context == 1:
        return []
    tokens = config.data.batch_size // (sizes["data"] * sizes["fsdp"]) * (config.data.window // context)
    heads = tokens * model.num_heads // sizes["tensor"] * model.head_dim * 2  # bytes of queries, bfloat16
    keys = 2 * tokens * model.num_kv_heads // sizes["tensor"] * model.head_dim * 2  # keys and values
    layers = sum(kind != "linear_attention" for kind in model.layer_types)
    again = 1 if config.model.remat == "full" else 0  # the ring runs once more in the backward pass

    def row(kind, where, times, size, cover):
        return Collective(kind, f"{where}, in a loop", layers * times, layers * size, cover != "nothing", cover)

    if context_method(config) == "all_gather":
        return [row("all-gather", "forward", 1, context * keys, "matmul"),
                row("all-gather", "backward", 1 + again, (1 + again) * context * keys, "matmul"),
                row("reduce-scatter", "backward", 1, 2 * context * keys, "matmul")]
    hops = context // group - 1
    # Gradients of keys are float32 and go one hop more than keys, the last of which nothing covers.
    rows = [row("collective-permute", "forward", hops, hops * keys, "attention"),
            row("collective-permute", "backward", (2 + again) * hops, (3 + again) * hops * keys, "attention"),
            row("collective-permute", "backward", min(hops, 1), min(hops, 1) * 2 * keys, "nothing")]
    if group > 1:
        exchange = 2 * heads + keys  # queries and output, keys and values
        rows += [row("all-to-all", "forward", 4, exchange, "nothing"),
                 row("all-to-all", "backward", 8, (1 + again) * exchange + exchange, "nothing")]
    return rows


def _weights(config, model, sizes) -> list[Collective]:
    """Whole weights for every layer and pass, gradients back to their shards, matrices to their owners in Muon."""
    state, spread = state_bytes(config, model, sizes), sizes["fsdp"] * sizes["context"]
    parts = config.train.microbatches
    beside = config.model.overlap == "all"

    def row(kind, where, times, size, hidden):
        return Collective(kind, where, times, size, hidden, "matmul" if hidden else "nothing")

    rows = []
    if spread > 1:
        whole, times = state.layers * spread * parts, 7 * model.num_layers * parts
        rows += [row("all-gather", "forward, in a loop", times, whole, beside),
                 row("all-gather", "backward, in a loop", times, whole, beside),
                 row("reduce-scatter", "backward, in a loop", times, whole, beside),
                 row("all-to-all", "optimizer, once", 6, 2 * state.layers, False)]
    if sizes["data"] > 1:
        rows.append(row("all-reduce", "backward, once", 7, state.gradients, False))
    return rows
