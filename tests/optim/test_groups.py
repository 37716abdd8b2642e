"""Path rules send every parameter to its optimizer; what is frozen stays bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_config

from polaris_jax.errors import InputError
from polaris_jax.models import abstract_params
from polaris_jax.optim import (
    ATTENTION_AND_GATES,
    GroupRule,
    apply_updates,
    group_table,
    label_params,
    make_optimizer,
    make_schedule,
)


@pytest.fixture
def params():
    attention = {name: jnp.ones((2, 4, 4)) for name in "qkvo"} | {"q_norm": jnp.ones((2, 4))}
    mlp = {"gate": jnp.ones((2, 4, 8)), "up": jnp.ones((2, 4, 8)), "down": jnp.ones((2, 8, 4))}
    return {
        "embed": {"embedding": jnp.ones((10, 4))},
        "head": {"kernel": jnp.ones((4, 10))},
        "norm": {"scale": jnp.ones(4)},
        "blocks": {"0": {"norm_in": {"scale": jnp.ones((2, 4))}, "attention": attention, "mlp": mlp}},
    }


def moved(params, labels, **options):
    """The leaves, by path, that one step changes."""
    optimizer = make_optimizer(labels, make_schedule("constant", 0.1, 10, 0), **options)
    gradients = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    after = apply_updates("fp32_master", params, updates, jax.random.key(0))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), after, params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, flag in jax.tree_util.tree_leaves_with_path(changed)
        if flag
    }


def test_matrices_of_the_blocks_go_to_muon_and_all_else_to_adamw(params):
    labels = label_params(params)
    block = labels["blocks"]["0"]
    assert {block["attention"][name] for name in "qkvo"} | set(block["mlp"].values()) == {"muon"}
    others = [
        labels["embed"]["embedding"],
        labels["head"]["kernel"],
        labels["norm"]["scale"],
        block["norm_in"]["scale"],
        block["attention"]["q_norm"],
    ]
    assert set(others) == {"adamw"}
    assert group_table(params, labels) == [("muon", 7, 4 * 32 + 3 * 64), ("adamw", 5, 40 + 40 + 4 + 8 + 8)]


def test_of_a_recurrent_layer_the_projections_go_to_muon():
    config = small_config(40, "qwen3_5_text")
    labels = label_params(abstract_params(config))["blocks"]["0"]["linear_attention"]
    assert {name for name, label in labels.items() if label == "muon"} == {"qkv", "z", "b", "a", "out"}
    assert {name for name, label in labels.items() if label == "adamw"} == {"conv", "A_log", "dt_bias", "norm"}


def test_the_second_stage_moves_attention_and_gates_only(params):
    labels = label_params(params, [GroupRule(*pair) for pair in ATTENTION_AND_GATES])
    expected = {f"blocks/0/attention/{name}" for name in "qkvo"} | {"blocks/0/mlp/gate"}
    assert moved(params, labels, weight_decay=0.1) == expected
    assert len(moved(params, label_params(params))) == len(jax.tree.leaves(params))


def test_frozen_parameters_have_no_state_and_do_not_count_for_the_clipped_norm(params):
    labels = label_params(params, [GroupRule("norm/scale", "adamw"), GroupRule("", "frozen")])
    optimizer = make_optimizer(labels, make_schedule("constant", 0.1, 10, 0))
    assert sum(leaf.size for leaf in jax.tree.leaves(optimizer.init(params)) if leaf.ndim) == 2 * 4
    huge = jax.tree.map(lambda p, label: p * (1e6 if label == "frozen" else 1e-3), params, labels)
    state = optimizer.init(params)
    _, with_huge = optimizer.update(huge, state, params)
    first = next(leaf for leaf in jax.tree.leaves(with_huge) if leaf.ndim)
    np.testing.assert_allclose(first, 0.1 * 1e-3, rtol=1e-5)  # the first moment: (1 - b1) times the unclipped gradient


def test_an_unknown_group_and_a_parameter_without_a_rule_are_refused(params):
    with pytest.raises(InputError, match="muon, adamw, frozen"):
        label_params(params, [GroupRule("", "sgd")])
    with pytest.raises(InputError, match="no rule matches"):
        label_params(params, [GroupRule("mlp", "muon")])
