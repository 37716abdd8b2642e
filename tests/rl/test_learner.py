"""Loss and gradients are those of the plain formula, whatever the packing, the micro-batches and the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import groups

from polaris_jax.data import plan_bins
from polaris_jax.models import from_pretrained, logits
from polaris_jax.options import replace
from polaris_jax.rl.config import rl_config
from polaris_jax.rl.groups import make_batch, member_advantages
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.objective import GrpoOptions, grpo, linear, readable
from polaris_jax.rl.policy_loss import policy_terms
from polaris_jax.rl.preference import cotangents, orpo_loss
from polaris_jax.rl.rows import best_window, pack
from polaris_jax.sharding import make_mesh

SCALARS = [[0.1, 0.5, 0.9], [0.2, 0.3, 0.7], [-0.4, 0.0, 0.1]]


def learner_on(config, devices=1, **mesh):
    mesh = make_mesh(mesh or {"context": 1}, devices=jax.devices()[:devices])
    model = from_pretrained(config.model.path, mesh=mesh)
    return Learner(config, model.config, mesh, None, lambda step: 1.0), model.params


def batch_of(config, **more):
    members = groups(SCALARS)
    return make_batch(members, member_advantages(members, config, 0.4), config, **more)


def assert_same(got, want, atol=2e-6):
    for (path, have), expected in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(have, expected, atol=atol, rtol=1e-4, err_msg=jax.tree_util.keystr(path))


def plain_logprobs(params, model, rows):
    """``[N, T]`` and the mask of responses, from the full logits of rows padded on the right."""
    width = max(len(row) for row in rows)
    texts = jnp.asarray([np.pad(np.concatenate([row.prompt, row.response]), (0, width - len(row))) for row in rows])
    scores = jax.nn.log_softmax(logits(params, model, texts[:, :-1]))
    mask = np.zeros((len(rows), width), np.float32)
    for index, row in enumerate(rows):
        mask[index, len(row.prompt) - 1 : len(row)] = 1
    return jnp.take_along_axis(scores, texts[:, 1:, None], axis=-1)[..., 0], mask


def spread(rows, mask, values):
    """One array per row, laid out where the mask is 1."""
    out = np.zeros(mask.shape, np.float32)
    out[mask > 0] = np.concatenate(values)
    return jnp.asarray(out)


@pytest.fixture(scope="module")
def plain(make_config):
    """Loss and gradients from the full logits, and the rows' log-probabilities."""
    config = rl_config(make_config())
    learner, params = learner_on(config)
    batch = batch_of(config)

    def loss(params):
        new, mask = plain_logprobs(params, learner.model, batch.rows)
        field = {name: spread(batch.rows, mask, values) for name, values in batch.fields.items()}
        old = jax.lax.stop_gradient(new)
        weight = jnp.where(field["sampled"] > 0, jnp.minimum(jnp.exp(old - field["behaviour"]), 2.0), 1.0)
        return (policy_terms(new, old, field["advantages"]).loss * weight * field["weights"]).sum(), (new, mask)

    (value, (found, mask)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return {
        "loss": value,
        "gradients": jax.tree.map(np.asarray, gradients),
        "logprobs": [np.asarray(row[keep > 0]) for row, keep in zip(found, mask, strict=True)],
    }


@pytest.mark.parametrize(
    ("window", "micro", "devices", "mesh", "remat"),
    [
        (64, 1, 1, {}, "full"),
        (32, 3, 1, {}, "none"),
        (64, 1, 4, {"fsdp": 2, "context": 2}, "attention"),
    ],
    ids=str,
)
def test_the_numbers_are_those_of_the_plain_formula(make_config, plain, window, micro, devices, mesh, remat):
    config = replace(rl_config(make_config()), {"rl.window": window, "rl.micro_windows": micro, "model.remat": remat})
    learner, params = learner_on(config, devices, **mesh)
    batch = batch_of(config)
    packed = learner.pack(batch.rows).with_fields(batch.fields)
    (loss, sums), gradients = learner.gradients(params, packed, grpo(GrpoOptions()))
    np.testing.assert_allclose(loss, plain["loss"], rtol=1e-5)
    assert_same(gradients, plain["gradients"])
    assert sums["tokens"] == sum(len(row.response) for row in batch.rows)
    for have, want in zip(learner.logprobs(params, packed), plain["logprobs"], strict=True):
        np.testing.assert_allclose(have, want, atol=1e-5)


def test_the_gap_between_sampler_and_learner_is_measured_and_corrected(make_config):
    config = rl_config(make_config())
    learner, params = learner_on(config)
    batch = batch_of(config)
    packed = learner.pack(batch.rows)
    exact = learner.logprobs(params, packed)
    off = {"behaviour": [row + np.log(2.0) for row in exact]}  # drawn twice as often as the model would
    ratios = {}
    for limit in (0.0, 2.0):
        objective = grpo(GrpoOptions(correction_limit=limit))
        sums = [
            learner.gradients(params, packed.with_fields(batch.fields | fields), objective)[0][1]
            for fields in ({"behaviour": exact}, off)
        ]
        same, other = (readable(jax.tree.map(float, s)) for s in sums)
        assert same["sampler/gap"] == pytest.approx(0.0, abs=1e-5)
        assert other["sampler/gap"] == pytest.approx(np.log(2.0), rel=1e-4)
        ratios[limit] = other["sampler/correction"]
        drawn = [i for i, row in enumerate(batch.fields["sampled"]) if row.any()]
        part = sum(float(-batch.fields["advantages"][i] @ batch.fields["weights"][i]) for i in drawn)
        assert same["loss/policy"] - other["loss/policy"] == pytest.approx(part * (0.5 if limit else 0.0), abs=1e-5)
    assert ratios == {0.0: 1.0, 2.0: pytest.approx(0.5, rel=1e-4)}


def test_a_second_pass_sees_true_ratios(make_config):
    config = rl_config(make_config())
    learner, params = learner_on(config)
    batch = batch_of(config)
    packed = learner.pack(batch.rows).with_fields(batch.fields)
    now = learner.logprobs(params, packed)
    moved = packed.with_fields({"old": [row - 0.5 for row in now]})  # every token has become likelier by e^0.5
    _, sums = learner.gradients(params, moved, grpo(GrpoOptions(on_policy=False, correction_limit=0.0)))[0]
    up = sum(len(row) for row in batch.fields["advantages"] if row[0] > 0)
    total = sum(len(row) for row in now)
    assert float(sums["clipped"]) == up  # 1.65 is beyond 1.28, which matters where the advantage is positive
    assert float(sums["log_ratio"]) == pytest.approx(0.5 * total, rel=1e-4)


def test_cloning_and_divergence_have_gradients(make_config):
    config = replace(rl_config(make_config()), {"rl.kl_coef": 0.1})
    learner, params = learner_on(config)
    batch = batch_of(config, cloning=0.3)
    packed = learner.pack(batch.rows).with_fields(batch.fields)
    now = learner.logprobs(params, packed)
    packed = packed.with_fields({"reference_logprobs": [row + 0.2 for row in now]})
    (loss, sums), _ = learner.gradients(params, packed, grpo(GrpoOptions(kl_coef=0.1, kl_estimator="k2")))
    share = sum(float(row.sum()) for row in batch.fields["weights"])
    assert float(sums["divergence"]) == pytest.approx(0.1 * 0.02 * share, rel=1e-3)
    human = [i for i, row in enumerate(batch.fields["cloning"]) if row.any()]
    tokens = sum(len(now[i]) for i in human)
    assert float(sums["cloning"]) == pytest.approx(-0.3 * sum(now[i].sum() for i in human) / tokens, rel=1e-4)
    parts = [float(sums[name]) for name in ("policy", "cloning", "divergence")]
    assert float(loss) == pytest.approx(sum(parts), rel=1e-5)


def test_orpo_in_two_passes_is_orpo(make_config):
    config = rl_config(make_config())
    learner, params = learner_on(config)
    members = groups([[0.1, 0.5], [0.2, 0.3]])
    rows = [member.row for member in members]
    chosen, rejected = [4, 4, 5], [0, 1, 3]
    packed = learner.pack(rows)

    def direct(params):
        found, mask = plain_logprobs(params, learner.model, rows)
        means = (found * mask).sum(1) / mask.sum(1)
        return orpo_loss(means[jnp.array(chosen)], means[jnp.array(rejected)], 1.0)[0]

    want, wanted = jax.jit(jax.value_and_grad(direct))(params)
    metrics, weights = cotangents(learner.logprobs(params, packed), chosen, rejected, 1.0)
    _, gradients = learner.gradients(params, packed.with_fields({"cotangents": weights}), linear)
    assert metrics["loss"] == pytest.approx(float(want), rel=1e-5)
    assert_same(gradients, jax.tree.map(np.asarray, wanted))


def test_what_goes_into_the_windows_comes_out_of_them():
    rows = [member.row for member in groups(SCALARS)]
    values = [np.arange(len(row.response), dtype=np.float32) + 100 * i for i, row in enumerate(rows)]
    for shards in (1, 2):
        packed = pack(rows, 64, multiple=4, shards=shards).with_fields({"values": values})
        assert len(packed) % 4 == 0
        for have, want in zip(packed.of_responses(packed.arrays["values"]), values, strict=True):
            np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("multiple", [1, 4])
def test_a_step_takes_the_window_with_the_least_padding(multiple):
    rng = np.random.default_rng(0)
    for _ in range(5):
        lengths = rng.integers(100, 845, 48).tolist()
        window = best_window(lengths, 1700, sizes=16, multiple=multiple, granule=2)
        sizes = [size for size in range(1700, 0, -106) if size >= max(lengths)]

        def used(size, lengths=lengths):
            return -(-len(plan_bins(lengths, size)) // multiple) * multiple * size

        assert window in sizes
        assert used(window) == min(map(used, sizes))
        assert sum(lengths) / used(window) > 0.9
    assert best_window([1700], 1700, sizes=16, multiple=1, granule=2) == 1700
    assert best_window([5], 64, sizes=1, multiple=1, granule=2) == 64


def test_windows_of_several_lengths_give_one_update(make_config):
    config = replace(rl_config(make_config()), {"rl.window": 1024, "rl.window_sizes": 4})
    learner, params = learner_on(config)
    batch = batch_of(config)
    packed = learner.pack(batch.rows)
    assert packed.plan.window < 1024
    whole = Learner(replace(config, {"rl.window_sizes": 1}), learner.model, learner.mesh, None, lambda step: 1.0)
    for one, other in zip(
        learner.logprobs(params, packed), whole.logprobs(params, whole.pack(batch.rows)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-6)
