"""Muon orthogonalises every matrix of every stack, equals a plain numpy reference, and does so once per mesh."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.optim import GroupRule, label_params, make_optimizer, make_schedule, muon, orthogonalize
from polaris_jax.sharding import make_mesh


def matrices(seed=0):
    rng = np.random.default_rng(seed)
    return {"q": jnp.asarray(rng.normal(size=(3, 16, 8)), jnp.float32),
            "k": jnp.asarray(rng.normal(size=(3, 8, 16)), jnp.float32),
            "up": jnp.asarray(rng.normal(size=(3, 16, 40)), jnp.float32)}


def numpy_polar(matrix, steps=5):
    x = np.asarray(matrix, np.float64)
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / np.linalg.norm(wide)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide


def test_singular_values_are_near_one_and_directions_are_the_polar_factor():
    tree = matrices()
    for name, stack in orthogonalize(tree).items():
        for before, after in zip(tree[name], stack, strict=True):
            values = np.linalg.svd(np.asarray(after), compute_uv=False)
            assert values.min() > 0.6
            assert values.max() < 1.25
            np.testing.assert_allclose(after, numpy_polar(before), atol=2e-4)
            u, _, vt = np.linalg.svd(np.asarray(before), full_matrices=False)
            cosine = np.sum((u @ vt) * np.asarray(after)) / np.linalg.norm(u @ vt) / np.linalg.norm(after)
            assert cosine > 0.97


def test_three_steps_equal_a_plain_numpy_muon():
    params = matrices(1)
    optimizer = muon(0.1, weight_decay=0.5)
    state = optimizer.init(params)
    reference = {name: np.asarray(p, np.float64) for name, p in params.items()}
    momentum = {name: np.zeros_like(p) for name, p in reference.items()}
    for step in range(3):
        gradients = matrices(10 + step)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name, value in reference.items():
            g = np.asarray(gradients[name], np.float64)
            momentum[name] = 0.95 * momentum[name] + g
            direction = np.stack([numpy_polar(m) for m in g + 0.95 * momentum[name]])
            reference[name] = value - 0.1 * (0.2 * max(value.shape[-2:]) ** 0.5 * direction + 0.5 * value)
    for name, value in reference.items():
        np.testing.assert_allclose(params[name], value, atol=5e-4)


@pytest.mark.parametrize("shape", [{"fsdp": 8}, {"fsdp": 2, "context": 2, "tensor": 2}], ids=str)
def test_each_matrix_is_orthogonalised_once_in_the_mesh(shape):
    mesh = make_mesh(shape)
    tree = matrices()
    alone = orthogonalize(tree)
    shardings = {name: NamedSharding(mesh, P(None, *specs)) for (name, _), specs in zip(
        tree.items(), [(("fsdp", "context"), "tensor"), ("tensor", ("fsdp", "context")), (None, ("fsdp", "context"))],
        strict=False)}
    placed = jax.device_put(tree, shardings)
    compiled = jax.jit(lambda t: orthogonalize(t, shardings=shardings)).lower(placed).compile()
    for name, leaf in compiled(placed).items():
        np.testing.assert_allclose(leaf, alone[name], atol=1e-5)
    # 6 matrices of 8x16 and 3 of 16x40 dealt to 8 devices: one each, so no batch in the program is larger.
    shapes = {tuple(map(int, dims.split(","))) for dims in re.findall(r"f32\[([\d,]+)\]\S* dot\(", compiled.as_text())}
    assert shapes
    assert max(np.prod(dims) for dims in shapes) <= 16 * 40


def test_vectors_embeddings_and_head_go_to_adamw():
    params = {"embed": {"embedding": jnp.zeros((10, 4))}, "head": {"kernel": jnp.zeros((4, 10))},
              "norm": {"scale": jnp.zeros(4)},
              "blocks": {"0": {"norm_in": {"scale": jnp.zeros((2, 4))},
                               "attention": {"q": jnp.zeros((2, 4, 4)), "q_norm": jnp.zeros((2, 4))},
                               "mlp": {"up": jnp.zeros((2, 4, 8))}}}}
    labels = label_params(params)
    block = labels["blocks"]["0"]
    assert block["attention"]["q"] == block["mlp"]["up"] == "muon"
    others = [labels["embed"]["embedding"], labels["head"]["kernel"], labels["norm"]["scale"],
              block["norm_in"]["scale"], block["attention"]["q_norm"]]
    assert set(others) == {"adamw"}
    frozen = label_params(params, [GroupRule("mlp", "frozen"), GroupRule("", "adamw")])
    optimizer = make_optimizer(frozen, make_schedule("constant", 0.1, 10, 0))
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    assert float(jnp.abs(updates["blocks"]["0"]["mlp"]["up"]).max()) == 0.0
    assert float(jnp.abs(updates["norm"]["scale"]).min()) > 0.0
    with pytest.raises(InputError, match="muon, adamw, frozen"):
        label_params(params, [GroupRule("", "sgd")])


def test_schedules_rise_to_the_peak_and_end_where_they_should():
    cosine, wsd = make_schedule("cosine", 1.0, 100, 10), make_schedule("wsd", 1.0, 100, 10)
    assert float(cosine(0)) == pytest.approx(0.1)
    assert float(cosine(9)) == pytest.approx(1.0)
    assert float(cosine(99)) < 1e-3
    assert float(wsd(81)) == pytest.approx(1.0)
    assert float(wsd(99)) < 0.1
    with pytest.raises(InputError, match="warmup"):
        make_schedule("cosine", 1.0, 10, 10)
