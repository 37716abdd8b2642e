"""Recurrent layers send maps of half rows over ``context``; their size does not depend on the row's length."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from polaris_jax.models import abstract_params
from polaris_jax.planner.analytic import map_bytes
from polaris_jax.planner.traffic import expected_collectives
from polaris_jax.sharding import make_mesh
from polaris_jax.training import default_config, train_config
from polaris_jax.training.step import loss_and_gradients, supervised
from tests.training.tiny_families import model_and_params, two_documents

BYTES = {"f32": 4, "bf16": 2, "i32": 4, "i8": 1}


def planned(window, remat):
    config = default_config()
    config.model.update({"path": "any", "remat": remat})
    config.data.update({"window": window, "batch_size": 2})
    config.mesh.update({"context": 4, "tensor": 2})
    return train_config(config, data=False)


def permuted(window, remat):
    """Bytes of every array that is sent to another shard in the step of a model of recurrent layers alone."""
    model = model_and_params("qwen3_5_text", layer_types=["linear_attention"] * 2)[0]
    config, mesh = planned(window, remat), make_mesh({"context": 4, "tensor": 2})
    step = jax.jit(loss_and_gradients(config, model, mesh, supervised(config)))
    arguments = abstract_params(model, jnp.bfloat16), two_documents(2, window), jnp.float32(1)
    text = step.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    arrays = re.findall(r'"stablehlo\.collective_permute".*?: \(tensor<([^>]*)>\)', text)
    assert arrays
    found = []
    for array in arrays:
        *shape, dtype = array.split("x")
        found.append(math.prod(map(int, shape)) * BYTES[dtype])
    return model, sorted(found)


@pytest.mark.parametrize("remat", ["full", "attention"])
def test_what_is_sent_is_what_the_plan_says_and_as_much_for_a_row_twice_as_long(remat):
    model, sent = permuted(64, remat)
    assert permuted(128, remat)[1] == sent
    sizes = {"data": 1, "fsdp": 1, "context": 4, "tensor": 2}
    config = planned(64, remat)
    assert max(sent) <= config.data.batch_size * max(map_bytes(model, sizes))
    rows = [row for row in expected_collectives(config, model, sizes) if row.kind == "collective-permute"]
    # The program holds one repeat for all of them: forward, and backward with what is recomputed.
    repeats = model.num_layers // len(model.group)
    assert sum(row.count for row in rows) == repeats * len(sent)
    assert sum(row.bytes for row in rows) == repeats * sum(sent)
