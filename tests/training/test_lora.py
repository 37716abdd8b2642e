"""An adapter's step: loss and gradients are those of the merged weights, on any mesh, whatever holds the base."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances

from polaris_jax.errors import InputError
from polaris_jax.models.loading import load_tensors
from polaris_jax.models.lora import quantized_tensors, split_table
from polaris_jax.models.saving import hf_tensors
from polaris_jax.models.weights import table_initialiser, table_shardings, weight_table
from polaris_jax.ops.linear import LowRank
from polaris_jax.ops.quantized import NF4_LEVELS, Quantized, block_of, block_scales, dequantize, quantize_rows
from polaris_jax.training import default_config, train_config
from polaris_jax.training.config import lora
from polaris_jax.training.mesh_fit import check_blocks_fit
from polaris_jax.training.step import loss_and_gradients, make_loss, supervised
from tests.training.tiny_families import model_and_params, on, options, two_documents

BATCH = two_documents(rows=4)
TOTAL = BATCH["weights"].sum()
TOLERANCE = tolerances.sums(BATCH["tokens"].size, in_a_row=40)
ADAPTER = {"rank": 4, "alpha": 6.0}


def halves(family, config, mesh=None, **sizes):
    """``(model, split, trained, frozen)`` of a family's smallest model, both factors of every term drawn."""
    model, params = model_and_params(family, **sizes)
    adapter = lora(config)
    split = split_table(model, adapter)
    stored = quantized_tensors(hf_tensors(params, model), split.frozen, adapter.base)
    frozen = load_tensors(split.frozen, stored, jnp.float32, mesh)
    factors = {path: weight for path, weight in split.trained.items() if path[-1].startswith("lora_")}
    whole = {path: weight for path, weight in split.trained.items() if path not in factors}
    fresh = table_initialiser(factors, jnp.dtype(jnp.float32), None, model.num_layers)(jax.random.key(3))
    draw = np.random.default_rng(0)
    fresh = jax.tree.map(lambda x: x + 0.1 * draw.standard_normal(x.shape).astype(np.float32), fresh)
    trained = fresh | load_tensors(whole, stored, jnp.float32, None)
    return (
        model,
        split,
        trained if mesh is None else jax.device_put(trained, table_shardings(split.trained, mesh)),
        frozen,
    )


def merged(tree):
    """The tree of a joined one in which every weight is one array."""

    def dense(node):
        if isinstance(node, Quantized):
            return jax.vmap(lambda one: dequantize(one, jnp.float32))(node)
        if isinstance(node, LowRank):
            return dense(node.base) + node.alpha / node.a.shape[-1] * node.a @ node.b
        return node

    return jax.tree.map(dense, tree, is_leaf=lambda node: isinstance(node, Quantized | LowRank))


@cache
def by_the_chain_rule(family, adapter, **sizes):
    """Loss, and gradients of an adapter by hand: ``dA = s dW B^T``, ``dB = s A^T dW`` of full training's ``dW``."""
    config = options(dict(adapter))
    model, split, trained, frozen = halves(family, config, **sizes)
    whole = merged(split.join(trained, frozen))
    program = jax.value_and_grad(make_loss(options(), model, on({"data": 1})), has_aux=True)
    (loss, _), gradients = jax.device_get(jax.jit(program)(whole, BATCH, TOTAL))

    def of(node, dw):
        if not (isinstance(node, dict) and "lora_a" in node):
            return {name: of(node[name], dw[name]) for name in node} if isinstance(node, dict) else dw
        a, b = np.asarray(node["lora_a"], np.float64), np.asarray(node["lora_b"], np.float64)
        scale = split.alpha / a.shape[-1]
        return {"lora_a": scale * dw @ b.swapaxes(1, 2), "lora_b": scale * a.swapaxes(1, 2) @ dw}

    return loss, of(trained, gradients)


# Wide enough for two blocks along every dimension that a ``tensor`` axis of 2 cuts.
WIDE = {"intermediate_size": 128, "head_dim": 16}
HYBRID = WIDE | {"linear_value_head_dim": 16}
CASES = [
    ("qwen3_5_text", {"fsdp": 4, "tensor": 2}, {}, {"targets": ("attention/(q|v)", "mlp/down"), "base": "nf4"}, HYBRID),
    ("qwen3", {"data": 2, "fsdp": 2}, {"remat": "none"}, {"ranks": (("q_proj", 2),), "embeddings": True}, {}),
    ("ministral3", {"context": 4}, {"offload": True, "segments": 2}, {"embeddings": True, "base": "nf4"}, {}),
]
SLOW = [
    ("llama", {"fsdp": 2, "context": 2, "tensor": 2}, {"remat": "attention", "mlp_chunk": 16}, {"base": "int8"}, WIDE),
    ("qwen3", {"tensor": 8}, {"remat": "attention"}, {}, {}),
    ("qwen2", {"fsdp": 4}, {"remat": "dots"}, {"base": "nf4"}, {}),
    ("mistral", {"context": 4, "tensor": 2}, {"context_method": "all_gather"}, {"base": "int8"}, WIDE),
    ("qwen3_5_text", {"tensor": 8}, {"remat": "attention", "mlp_chunk": 16}, {}, {}),
    ("llama", {"data": 2, "context": 4}, {"context_method": "two_level"}, {"targets": ("mlp",)}, {}),
]


@pytest.mark.parametrize(
    ("family", "mesh_shape", "fields", "adapter", "sizes"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    ids=str,
)
def test_loss_and_gradients_are_those_of_the_merged_weights(family, mesh_shape, fields, adapter, sizes):
    adapter = ADAPTER | adapter
    config, mesh = options(adapter, **fields), on(mesh_shape)
    want, wanted = by_the_chain_rule(family, tuple(adapter.items()), **sizes)
    model, _, trained, frozen = halves(family, config, mesh, **sizes)
    program = jax.jit(loss_and_gradients(config, model, mesh, supervised(config)))
    (loss, _), gradients = program(trained, BATCH, TOTAL, frozen)
    np.testing.assert_allclose(loss, want, rtol=tolerances.sums(BATCH["tokens"].size, in_a_row=20))
    tolerances.assert_gradients_agree(jax.device_get(gradients), wanted, TOLERANCE)


def test_a_target_is_named_by_path_or_by_hugging_face_name():
    model, _ = model_and_params("qwen3_5_text")

    def chosen(**fields):
        adapter = lora(options(ADAPTER | fields))
        return {
            "/".join(path[:-1]): weight.shape[-1]
            for path, weight in split_table(model, adapter).trained.items()
            if path[-1] == "lora_a"
        }

    assert set(chosen(targets=("q_proj", "blocks/0/mlp/up"))) == {"blocks/1/attention/q", "blocks/0/mlp/up"}
    every = chosen()
    assert set(every) == {"/".join(path) for path, w in weight_table(model).items() if w.layers and len(w.shape) == 3}
    assert chosen(ranks=(("mlp", 2), ("down", 8)))["blocks/1/mlp/down"] == 2  # the first that is found
    for field, value, words in (
        (
            "targets",
            ("k_proj", "gate_up"),
            "finds no matrix of the layers; they have qkv, z, b, a, out, gate, up, down",
        ),
        ("targets", ("(",), "no regular expression"),
        ("ranks", (("mlp", 2), ("nothing", 3)), "finds no matrix"),
    ):
        with pytest.raises(InputError, match=words.replace("(", r"\(")):
            chosen(**{field: value})
    stack, _ = model_and_params("llama")  # two layers in one stack, which gets its terms as one
    with pytest.raises(InputError, match="leave the number of the layer out"):
        split_table(stack, lora(options(ADAPTER | {"targets": (r"layers\.1\.mlp\.up",)})))


@pytest.mark.parametrize(
    ("adapter", "fields", "named"),
    [
        ({"alpha": 8.0}, {}, "adapter.alpha"),
        ({"rank": 0, "base": "nf4"}, {}, "adapter.base"),
        ({"rank": 4, "ranks": (("mlp", 0),)}, {}, "adapter.ranks"),
        ({"rank": 4}, {"qk_clip": 80.0}, "optim.qk_clip"),
        ({"rank": 4}, {"per_head": True}, "optim.per_head"),
    ],
)
def test_what_an_adapter_cannot_do_is_refused(adapter, fields, named):
    config = default_config()
    config.model.path = "any"
    config.adapter.update(adapter)
    config.optim.update(fields)
    with pytest.raises(InputError, match=named):
        train_config(config, data=False)


def test_blocks_that_a_tensor_axis_would_cut_are_refused():
    model, _ = model_and_params("llama")  # 48 hidden units are three blocks of 16
    split = split_table(model, lora(options(ADAPTER | {"base": "nf4"})))
    check_blocks_fit(split, on({"fsdp": 4}))
    with pytest.raises(InputError, match=r"tensor=2: does not divide the \d blocks of blocks/0/(attention/o|mlp/down)"):
        check_blocks_fit(split, on({"tensor": 2}))


@pytest.mark.parametrize("base", ["int8", "nf4"])
def test_a_quantised_number_is_the_nearest_of_its_levels(base):
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((5, 96)).astype(np.float32)
    rows[0, :32] = 0  # a block of zeros has the scale 0
    block = block_of(rows.shape[1])
    assert block == 32
    codes, scales = quantize_rows(rows, base, block), block_scales(rows, base, block)
    held = Quantized(jnp.asarray(codes.T), jnp.asarray(scales.T))
    levels = np.arange(-127, 128) if base == "int8" else np.array(NF4_LEVELS)
    choices = scales[:, :, None] * levels  # of every block
    blocks = rows.reshape(5, -1, block)
    nearest = choices[
        np.arange(5)[:, None, None], np.arange(3)[:, None], np.abs(blocks[..., None] - choices[:, :, None]).argmin(-1)
    ]
    np.testing.assert_allclose(dequantize(held, jnp.float32).T, nearest.reshape(rows.shape), rtol=1e-6)
    assert codes.nbytes == rows.size // (2 if base == "nf4" else 1)


def test_no_array_of_a_step_is_a_wide_copy_of_the_quantised_stack():
    """Of the layers' matrices only one layer's are ever made: in the lowered text no stack of them has floats."""
    config = options(ADAPTER | {"base": "nf4"}, compute_dtype="bfloat16")
    model, _, trained, frozen = halves("qwen3", config)
    text = (
        jax.jit(loss_and_gradients(config, model, on({"data": 1}), supervised(config)))
        .lower(trained, BATCH, TOTAL, frozen)
        .as_text()
    )
    layers, width, hidden = weight_table(model)["blocks", "0", "mlp", "gate"].shape
    assert f"tensor<{layers}x{width // 2}x{hidden}xui8>" in text
    assert f"tensor<{width}x{hidden}xbf16>" in text  # one layer's
    assert f"tensor<{layers}x{width}x{hidden}x" not in text


def test_the_frozen_base_has_neither_gradients_nor_momenta_nor_reductions():
    config, mesh = options(ADAPTER), on({"data": 2, "fsdp": 2})
    model, _, trained, frozen = halves("qwen3", config, mesh)
    lowered = (
        jax.jit(loss_and_gradients(config, model, mesh, supervised(config)))
        .trace(trained, BATCH, TOTAL, frozen)
        .lower(lowering_platforms=("tpu",))
    )
    (_, gradients) = lowered.out_info
    assert jax.tree.structure(gradients) == jax.tree.structure(trained)
    reduced = [line for line in lowered.as_text().splitlines() if "all_reduce" in line or "reduce_scatter" in line]
    hidden = model.intermediate_size
    assert reduced
    assert not any(f"x{hidden}x" in line and f"{model.hidden_size}x{hidden}x" in line for line in reduced)
