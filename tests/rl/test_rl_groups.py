"""Statistics of a group: without failed judgements and human references; as released, references have no effect."""

from dataclasses import replace

import numpy as np
import pytest
from toys import groups, reward

from polaris_jax import options
from polaris_jax.rl import RlConfig, group_advantages
from polaris_jax.rl.aggregation import MODES, aggregation_weights
from polaris_jax.rl.groups import group_metrics, group_requests, make_batch, member_advantages
from polaris_jax.rl.released import released_trainer


@pytest.fixture
def config():
    return RlConfig()


def test_a_failed_judgement_leaves_no_trace(config):
    members = groups([[0.1, 0.5, 0.9], [0.2, 0.3, 0.7]])
    failed = [
        replace(m, reward=reward(m.request.group, m.request.member, None)) if i == 1 else m
        for i, m in enumerate(members)
    ]
    without = [m for i, m in enumerate(members) if i != 1]
    got, want = (member_advantages(rows, config, 0.4) for rows in (failed, without))
    assert got[1] == 0.0
    np.testing.assert_array_equal(np.delete(got, 1), want)
    ours, theirs = make_batch(failed, got, config), make_batch(without, want, config)
    for name, rows in ours.fields.items():
        for have, expected in zip(rows, theirs.fields[name], strict=True):
            np.testing.assert_array_equal(have, expected, err_msg=name)
    assert group_metrics(failed, got)["reward/failed"] == 1.0


def test_a_group_whose_judge_failed_for_all_but_one_teaches_nothing():
    advantages = group_advantages([0.5, 0.0, 0.0, 0.9], "aaaa", human_reference=[0, 0, 0, 1], valid=[1, 0, 0, 1])
    assert not advantages.any()


def test_equal_rollouts_do_not_make_their_reference_explode(config):
    advantages = group_advantages([0.3, 0.3, 0.3, 0.9], "aaaa", human_reference=[0, 0, 0, 1])
    assert advantages[3] > 1e5  # the plain formula
    floored = group_advantages(
        [0.3, 0.3, 0.3, 0.9],
        "aaaa",
        human_reference=[0, 0, 0, 1],
        std_floor=config.rl.std_floor,
        human_reference_limit=config.rl.human_reference_limit,
    )
    assert floored[3] == config.rl.human_reference_limit
    assert not floored[:3].any()


def test_the_reference_moves_nobody_elses_advantage(config):
    low, high = (
        member_advantages(groups([[0.1, 0.5, 0.9]], human_reference_scalar=score), config, 0.4) for score in (-1.0, 1.0)
    )
    np.testing.assert_array_equal(low[:3], high[:3])
    assert low[3] == 0 < high[3]  # a human text that scores below the rollouts is not unlearned
    unbounded = replace(config, rl=replace(config.rl, human_reference_floor=None))
    below = member_advantages(groups([[0.1, 0.5, 0.9]], human_reference_scalar=-1.0), unbounded, 0.4)
    assert below[3] < 0


@pytest.mark.parametrize("mode", MODES)
def test_shares_of_the_loss_do_not_depend_on_padding_or_order(mode):
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], float)
    weights = aggregation_weights(mask, mode, width=4)
    wider = aggregation_weights(np.pad(mask, ((0, 0), (0, 3)))[::-1], mode, width=4)[::-1, :4]
    np.testing.assert_array_equal(weights, wider)
    expected = dict(zip(MODES, (1.0, 2.0, 0.5, 1.0), strict=True))
    assert weights.sum() == pytest.approx(expected[mode])


def test_as_released_a_reference_changes_nothing_but_can_spoil_the_step(config):
    config = released_trainer(options.replace(config, {"rl.as_released": True}))
    members = groups([[0.1, 0.5], [0.2, 0.7]])  # four rollouts, then two references: they share a micro-batch
    advantages = member_advantages(members, config, 0.4)
    batch = make_batch(members, advantages, config)
    assert np.isnan(np.concatenate(batch.fields["weights"][4:])).all()
    apart = [members[i] for i in (0, 4, 1, 2, 5, 3)]  # each beside a rollout
    advantages = member_advantages(apart, config, 0.4)
    batch = make_batch(apart, advantages, config)
    assert np.isfinite(np.concatenate(batch.fields["weights"])).all()
    assert len(batch.rows) == 4  # no reference is in it, whatever it is worth
    assert all(row.any() for row in batch.fields["sampled"])
    other = [replace(m, reward=reward(m.request.group, -1, -1.5)) if m.is_human_reference else m for m in apart]
    for name, rows in make_batch(other, member_advantages(other, config, 0.4), config).fields.items():
        for have, expected in zip(rows, batch.fields[name], strict=True):
            np.testing.assert_array_equal(have, expected, err_msg=name)


def test_cloning_is_a_term_of_its_own(config):
    members = groups([[0.1, 0.5, 0.9]])
    advantages = member_advantages(members, config, 0.0)  # no reference weight: in the batch for cloning alone
    batch = make_batch(members, advantages, config, cloning=0.3)
    assert sum(row.sum() for row in batch.fields["cloning"]) == pytest.approx(0.3)
    assert sum(row.sum() for row in batch.fields["weights"]) == pytest.approx(
        1.0
        if all(advantages[:3])
        else sum(len(m.rollout.tokens) for m, a in zip(members, advantages, strict=False) if a)
        / sum(len(m.rollout.tokens) for m in members[:3])
    )
    assert not batch.fields["weights"][-1].any()


def test_rows_without_a_signal_are_left_out_but_counted(config):
    members = groups([[0.5, 0.5, 0.5], [0.1, 0.5, 0.9]], human_reference_scalar=None)
    batch = make_batch(members, member_advantages(members, config, 0.0), config)
    assert len(batch.rows) < len(members)
    total = sum(len(member.rollout.tokens) for member in members)
    np.testing.assert_allclose(np.concatenate(batch.fields["weights"]), 1 / total, rtol=1e-6)


def test_the_last_rollouts_may_start_from_the_reference_s_reasoning(config):
    config = options.replace(config, {"rl.think_prefix": 2})
    thoughts = np.array([7, 8, 9], np.int32)
    task = replace(groups([[0.1]])[0].request.task, thoughts=thoughts)
    rollouts, human = group_requests([task, replace(task, human_reference=None)], config, human_references=True)
    assert [item.prefixed for item in rollouts] == [False] * 3 + [True] * 2 + [False] * 4 + [True] * 2
    assert [item.group for item in human] == ["0/t0"]  # a task without a human text has one rollout more
    np.testing.assert_array_equal(rollouts[4].prompt, np.concatenate([task.prompt, thoughts]))
    np.testing.assert_array_equal(rollouts[0].prompt, task.prompt)
