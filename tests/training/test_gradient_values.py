"""Loss and every gradient of a whole step on meshes of eight devices.

In float32 they equal those of the plain path on one device. In bfloat16 they are held against float64, weight by weight
and, in the embedding, row by row: a token's row is a sum over its occurrences, and the more there are, the more a sum
in few bits loses.
"""

import re
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from float64_decoder import gradients as float64_gradients
from random_rows import FREQUENT, VOCAB, Rows, decoder

from polaris_jax.models import abstract_params, init_params
from polaris_jax.models.weights import weight_table
from polaris_jax.optim import RECIPES, working_copy
from polaris_jax.sharding import make_mesh
from polaris_jax.training import default_config
from polaris_jax.training.config import train_config
from polaris_jax.training.step import loss_and_gradients, partial_gradients, supervised

SHORT = Rows(rows=8, each=4, length=32)
LONG = Rows(rows=8, each=8, length=256)  # the frequent token comes 10,889 times
# A gradient is the last of about thirty matrix products: seven forward and fourteen back in each of two layers' halves.
FLOAT32 = tolerances.sums(SHORT.rows * SHORT.each * SHORT.length, in_a_row=30)
# In bfloat16 each of them rounds by 2**-9 / sqrt(3) on average: 0.6 % of a single term. What is left of that in a sum
# over many tokens, and its last roundings (of a device's sum, and of the sum over devices), stay below 1 %. A row that
# is a sum of few terms has most of their error, and the worst of a hundred such rows three times the average.
WEIGHT = 0.01
ROWS = {1: 0.02, 10: 0.015, 100: 0.01, 10_000: 0.01}  # by occurrences, from so many on


def typed(fields):
    config = default_config()
    config.model.update({"path": "none", "remat": "full", "compute_dtype": "float32"})
    config.model.update({"attention_block": 32, "context_method": "ring"})
    config.data.batch_size = SHORT.rows
    for name, value in fields.items():
        section, field = name.split(".")
        config[section][field] = value
    return train_config(config, data=False)


def program(family, mesh_shape, fields):
    config = typed(fields)
    mesh = make_mesh(mesh_shape, devices=jax.devices()[: int(np.prod(list(mesh_shape.values())))])
    return jax.jit(loss_and_gradients(config, decoder(family), mesh, supervised(config)))


@lru_cache
def plain(family):
    """Loss and gradients of ``SHORT`` on one device, nothing recomputed and nothing written out for a mesh."""
    params, batch = init_params(decoder(family), jax.random.key(0)), SHORT.batch()
    (loss, _), found = program(family, {"context": 1}, {"model.remat": "none"})(params, batch, batch["weights"].sum())
    return params, jax.device_get(loss), jax.device_get(found)


ON_MESHES = [
    (
        "mistral",
        {"data": 2, "fsdp": 2, "context": 2},
        {"model.remat": "attention", "model.context_method": "all_gather", "train.microbatches": 2},
    ),
    ("qwen3_5", {"data": 2, "fsdp": 4}, {}),
]
MORE_MESHES = [
    ("llama", {"fsdp": 2, "context": 4}, {}),
    ("qwen3", {"fsdp": 2, "context": 2, "tensor": 2}, {"model.remat": "attention"}),
    ("llama", {"data": 8}, {}),
    ("llama, tied", {"fsdp": 8}, {"model.remat": "attention"}),
    ("llama", {"context": 8}, {"model.remat": "attention", "model.context_method": "two_level"}),
    ("llama, tied", {"data": 2, "context": 4}, {"train.microbatches": 4, "model.mlp_chunk": 16}),
    ("qwen3", {"data": 4, "context": 2}, {"train.microbatches": 2, "model.segments": 2}),
    ("mistral", {"context": 8}, {"model.remat": "full", "loss.chunk": 16, "loss.z_loss": 0.0}),
    ("qwen3_5", {"data": 2, "fsdp": 2, "tensor": 2}, {"model.remat": "attention", "train.microbatches": 2}),
    ("qwen3_5", {"fsdp": 8}, {"model.mlp_chunk": 16}),
    ("llama", {"data": 2, "tensor": 4}, {"train.microbatches": 2}),
    ("qwen3_5", {"fsdp": 4, "tensor": 2}, {}),
    ("llama, tied", {"data": 2, "fsdp": 2, "tensor": 2}, {"model.remat": "dots"}),
    ("mistral", {"fsdp": 2, "context": 4}, {"model.remat": "none", "train.microbatches": 2}),
]


@pytest.mark.parametrize(
    ("family", "mesh_shape", "fields"),
    [*ON_MESHES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_MESHES)],
    ids=str,
)
def test_in_float32_they_equal_the_plain_ones_on_one_device(family, mesh_shape, fields):
    params, want_loss, want = plain(family)
    batch = SHORT.batch()
    (loss, _), got = program(family, mesh_shape, fields)(params, batch, batch["weights"].sum())
    np.testing.assert_allclose(loss, want_loss, rtol=FLOAT32)
    tolerances.assert_gradients_agree(jax.device_get(got), want, FLOAT32)


@lru_cache
def exact(family, recipe):
    """The working copy of a recipe in bfloat16, and with these very weights the loss and gradients in float64."""
    params = init_params(decoder(family), jax.random.key(0))
    if recipe == "bf16_stochastic":
        params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    held = working_copy(recipe, params, jax.random.key(1), jnp.float32(1), jnp.bfloat16)
    return held, *float64_gradients(decoder(family), held, *LONG.documents())


@pytest.mark.parametrize(
    ("family", "mesh_shape", "fields", "recipes"),
    [
        ("llama", {"data": 2, "fsdp": 2, "context": 2}, {}, RECIPES),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("llama", {"data": 1}, {}, RECIPES),
                ("llama", {"context": 8}, {"model.remat": "attention"}, RECIPES),
                ("llama", {"fsdp": 2, "context": 2, "tensor": 2}, {}, RECIPES),
                ("llama", {"data": 2, "context": 4}, {"train.microbatches": 4, "model.mlp_chunk": 64}, RECIPES),
                ("llama", {"fsdp": 2, "context": 4}, {"model.remat": "dots"}, RECIPES),
                ("llama, tied", {"fsdp": 2, "context": 4}, {}, RECIPES),
                ("llama, tied", {"data": 2, "fsdp": 4}, {"model.remat": "none"}, RECIPES),
            ]
        ),
    ],
    ids=str,
)
def test_in_bfloat16_every_weight_and_every_row_is_within_its_bound(family, mesh_shape, fields, recipes):
    run = program(family, mesh_shape, {"model.compute_dtype": "bfloat16", "model.attention_block": 128} | fields)
    batch = LONG.batch()
    count = np.bincount(batch["tokens"].ravel(), minlength=VOCAB)
    assert count[FREQUENT] > 10_000
    for recipe in recipes:
        held, want_loss, want = exact(family, recipe)
        (loss, _), got = run(held, batch, batch["weights"].sum())
        assert abs(loss - want_loss) < WEIGHT * want_loss
        got = jax.tree.map(lambda g: np.asarray(g, np.float64), got)
        errors = jax.tree.map(tolerances.distance, got, want)
        for path, error in jax.tree_util.tree_leaves_with_path(errors):
            assert error < WEIGHT, (recipe, jax.tree_util.keystr(path))
        rows = map(tolerances.distance, got["embed"]["embedding"], want["embed"]["embedding"])
        for token, error in enumerate(rows):
            if count[token]:
                bound = ROWS[max(least for least in ROWS if least <= count[token])]
                assert error < bound, (recipe, token, int(count[token]))


def text_for_tpu(function, fields, family="llama"):
    """The lowered ``part`` or ``reduce`` of ``partial_gradients`` on eight devices, rows and weights spread."""
    config, model = typed({"model.compute_dtype": "bfloat16"} | fields), decoder(family)
    mesh = make_mesh({"data": 2, "fsdp": 4} if model.recurrent else {"data": 2, "fsdp": 2, "context": 2})
    parts = partial_gradients(config, model, mesh, supervised(config))
    arguments = (abstract_params(model, jnp.bfloat16), SHORT.batch(), jnp.float32(1))
    if function == "reduce":
        arguments = (jax.eval_shape(parts[0], *arguments)[1],)
    program = jax.jit(parts[("part", "reduce").index(function)])
    return program.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()


def sums_over_devices(text, kind):
    """The arrays of every collective of a kind: ``["32x64xbf16", ...]``."""
    found = re.findall(rf'"stablehlo.{kind}"\(.*?\}}\) : \(([^)]*)\)', text, flags=re.DOTALL)
    return [array for arrays in found for array in re.findall(r"tensor<([^>]*)>", arrays)]


def test_gradients_cross_data_once_per_step_not_once_per_microbatch():
    """A part's all-reduces hold the loss and sums per role, and no weight; those of the reduction hold every weight."""
    part, reduce = (sums_over_devices(text_for_tpu(name, {}), "all_reduce") for name in ("part", "reduce"))
    assert part
    assert all(array == "f32" or re.fullmatch(r"2x\d+xf32|2x4xf32", array) for array in part), part
    assert len(reduce) == len(weight_table(decoder("llama")))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_devices_add_gradients_up_in_the_dtype_that_was_asked_for(dtype):
    short = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    fields = {"optim.reduce_dtype": dtype}
    scattered = sums_over_devices(text_for_tpu("part", fields), "reduce_scatter")
    reduced = sums_over_devices(text_for_tpu("reduce", fields), "all_reduce")
    assert len(scattered) >= 8
    assert {array.rsplit("x", 1)[-1] for array in scattered + reduced} == {short}


def test_weights_that_stay_float32_cross_devices_in_float32():
    fields = {"optim.reduce_dtype": "bfloat16"}
    reduced = sums_over_devices(text_for_tpu("reduce", fields, "qwen3_5"), "all_reduce")
    kept = [weight for weight in weight_table(decoder("qwen3_5")).values() if weight.float32]
    assert kept
    assert sum(array.endswith("xf32") for array in reduced) == len(kept)
    assert {array.rsplit("x", 1)[-1] for array in reduced} == {"f32", "bf16"}
