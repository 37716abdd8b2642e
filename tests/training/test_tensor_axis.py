"""A layer's heads and hidden units over ``tensor``: loss and every gradient equal the plain step of one device."""

from functools import cache

import jax
import numpy as np
import pytest
import tolerances

from polaris_jax.errors import InputError
from polaris_jax.models import ModelConfig, param_shardings
from polaris_jax.training.mesh_fit import check_model_fits
from polaris_jax.training.step import loss_and_gradients, make_evaluation, make_loss, supervised
from tests.training.tiny_families import QWEN3_5, model_and_params, on, options, shape, two_documents

BATCH = two_documents(rows=4)
# A gradient of a weight is a sum over the tokens, behind some forty products in two layers; a recurrent layer has three
# times as many, in its chunks' inverses and from chunk to chunk.
_TERMS = BATCH["tokens"].size
TOLERANCES = {False: tolerances.sums(_TERMS, in_a_row=40), True: tolerances.sums(_TERMS, in_a_row=120)}  # recurrent


@cache
def plain(family, **sizes):
    """Loss and gradients of the step that leaves everything to the compiler, on one device."""
    model, params = model_and_params(family, **sizes)
    program = jax.value_and_grad(make_loss(options(), model, on({"data": 1})), has_aux=True)
    (loss, _), gradients = jax.device_get(jax.jit(program)(params, BATCH, BATCH["weights"].sum()))
    return loss, gradients


FAST = [
    ("qwen3", {"tensor": 8}, {"remat": "attention"}, {}),  # a key head for four devices
    ("qwen3_5_text", {"fsdp": 2, "tensor": 4}, {}, {}),  # a key head for two devices, in both kinds of layers
]
ALL = [
    (family, {"data": 8 // tensor // other, axis: other, "tensor": tensor}, {"remat": remat}, {})
    for family in ("llama", "mistral", "ministral3", "qwen2", "qwen3", "qwen3_5_text")
    for tensor, axis, other, remat in (
        (2, "fsdp" if family == "qwen3_5_text" else "context", 2, "full"),
        (4, "fsdp", 2, "attention"),
        (8, "fsdp", 1, "full"),
        (4, "fsdp", 1, "dots"),
        (8, "fsdp", 1, "none"),
    )
]
ODD = [
    ("llama", {"fsdp": 2, "context": 2, "tensor": 2}, {"mlp_chunk": 16}, {}),
    ("llama", {"fsdp": 2, "tensor": 4}, {}, {"vocab_size": 97}),  # whole on every device
    ("qwen3_5_text", {"tensor": 8}, {}, {"vocab_size": 97, "head_dim": 6, "num_key_value_heads": 1, "rotary": 1.0}),
    ("qwen3_5_text", {"tensor": 2}, {"remat": "attention", "mlp_chunk": 16}, {}),
    ("llama", {"context": 2, "tensor": 4}, {"context_method": "two_level"}, {"num_key_value_heads": 8}),
    ("llama", {"context": 2, "tensor": 4}, {"context_method": "all_gather", "offload": True}, {}),
]


@pytest.mark.parametrize(
    ("family", "mesh_shape", "fields", "sizes"),
    [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in (*ALL, *ODD))],
    ids=str,
)
def test_loss_and_gradients_equal_those_of_one_device(family, mesh_shape, fields, sizes):
    config = options(**fields)
    model, params = model_and_params(family, **sizes)
    mesh = on(mesh_shape)
    want, wanted = plain(family, **sizes)
    program = jax.jit(loss_and_gradients(config, model, mesh, supervised(config)))
    held = jax.device_put(params, param_shardings(model, mesh))
    (loss, sums), gradients = program(held, BATCH, BATCH["weights"].sum())
    np.testing.assert_allclose(loss, want, rtol=tolerances.sums(BATCH["tokens"].size, in_a_row=20))
    tolerances.assert_gradients_agree(jax.device_get(gradients), wanted, TOLERANCES[model.recurrent])
    for largest in sums.get("max_logits", {}).values():
        assert largest.shape == (len(model.layer_types) // len(model.group), model.num_heads)


@pytest.mark.slow
def test_the_loss_without_gradients_is_the_same_on_a_tensor_axis():
    config = options()
    model, params = model_and_params("qwen3_5_text")
    found = {}
    for tensor in (1, 4):
        mesh = on({"tensor": tensor})
        held = jax.device_put(params, param_shardings(model, mesh))
        found[tensor] = jax.device_get(make_evaluation(config, model, mesh)(held, BATCH))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found[4], found[1])


@pytest.mark.parametrize(
    ("model", "tensor", "named", "instead"),
    [
        (shape("llama"), 16, "8 query heads", "tensor=8 --config.mesh.fsdp=2"),
        (shape("llama", num_attention_heads=12, num_key_value_heads=6), 4, "6 key-value heads", "tensor=3"),
        (shape("llama", intermediate_size=50), 4, "50 hidden units", "tensor=2 --config.mesh.fsdp=2"),
        (shape("qwen3_5_text", linear_num_value_heads=6), 4, "6 value heads", "tensor=2"),
        (
            shape("qwen3_5_text", linear_num_key_heads=6, linear_num_value_heads=12),
            4,
            "6 key heads of the linear attention",
            "tensor=2",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_with_the_next_size(model, tensor, named, instead):
    sizes = {"data": 1, "fsdp": 1, "context": 1, "tensor": tensor}
    with pytest.raises(InputError) as refused:
        check_model_fits(ModelConfig.from_hf(model), sizes)
    assert named in str(refused.value)
    assert f"--config.mesh.{instead}" in str(refused.value)


def test_released_shapes_spread_over_eight_devices():
    """Qwen3.5 9B has 4 key-value heads, 16 key heads and 32 value heads; 8 devices hold every key-value head twice."""
    released = {"num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 12288}
    linear = QWEN3_5 | {"linear_num_key_heads": 16, "linear_num_value_heads": 32}
    for family in (shape("qwen3_5_text", **{**linear, **released}), shape("llama", **released)):
        model = ModelConfig.from_hf(family)
        for tensor in (1, 2, 4, 8):
            check_model_fits(model, {"data": 1, "fsdp": 1, "context": 1, "tensor": tensor})
