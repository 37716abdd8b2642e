"""GRPO with human references against recorded values: advantages, schedules, losses, whole steps, row building."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.data.prompt_story import read_prompt_stories
from polaris_jax.options import replace
from polaris_jax.rewards import released
from polaris_jax.rl import RlConfig
from polaris_jax.rl.advantages import group_advantages
from polaris_jax.rl.aggregation import aggregation_weights
from polaris_jax.rl.auto_weights import AutoWeightOptions, AutoWeights
from polaris_jax.rl.groups import Member, make_batch
from polaris_jax.rl.journal import Reward, Rollout
from polaris_jax.rl.policy_loss import divergence, policy_terms
from polaris_jax.rl.released import micro_batch_weights, released_trainer
from polaris_jax.rl.rollouts import RolloutRequest
from polaris_jax.rl.schedules import WeightSchedule
from polaris_jax.rl.tasks import RlTask, human_response

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def golden(shared):
    file = shared / "specs" / "polaris_golden.json"
    if not file.exists():
        pytest.skip(f"no {file}")
    return json.loads(file.read_text(encoding="utf-8"))


def number(value):
    """Recorded numbers; what JSON cannot hold is written in words."""
    return float({"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(value, value))


def numbers(value):
    return [numbers(item) for item in value] if isinstance(value, list) else number(value)


def row_scores(token_rewards: np.ndarray, mask: np.ndarray, mode: str = "sum", clip: float = 0.0) -> np.ndarray:
    """Reduces rewards per token to one score per row.

    Args:
      token_rewards, mask: ``[B, T]``.
      mode: ``sum``; ``sum_norm`` (the sum over the width ``T``); ``mean`` (over the row's own tokens).
      clip: scores are clipped to ``+-clip``; 0 is off.

    Returns:
      ``[B] float32``.
    """
    rewards, mask = np.asarray(token_rewards, np.float32), np.asarray(mask, np.float32)
    if mode == "mean":
        scores = (rewards * mask).sum(1) / np.maximum(mask.sum(1), 1.0)
    else:
        scores = rewards.sum(1) / (rewards.shape[1] if mode == "sum_norm" else 1)
    return np.clip(scores, -clip, clip) if clip else scores


def test_advantages(golden):
    for case in golden["grpo_advantage"]["cases"]:
        config, mask = case["config"], np.array(case["mask"])
        scores = row_scores(
            numbers(case["token_rewards"]),
            mask,
            config.get("grpo_score_mode", "sum"),
            config.get("grpo_score_clip") or 0.0,
        )
        rows = group_advantages(
            scores,
            case["group"],
            human_reference=case["is_gt"],
            exclude_human_references=config.get("gt_exclude_from_stats", False),
            normalise=case["norm_by_std"],
        )
        np.testing.assert_allclose(rows[:, None] * mask, numbers(case["advantages"]), **CLOSE, err_msg=case["desc"])


@pytest.mark.parametrize(("name", "prefix"), [("gt_rollout_enable", "gt"), ("bc_enable", "bc")])
def test_weight_schedules(golden, name, prefix):
    cases = [case for case in golden["hri_schedule"]["cases"] if case["config"].get(name)]
    assert cases
    for case in cases:
        config = case["config"]
        peak = (
            config.get("gt_peak_weight", config.get("gt_rollout_weight", 1.0))
            if prefix == "gt"
            else config.get("bc_peak_coef", 0.0)
        )
        schedule = WeightSchedule(
            peak,
            config.get("gt_final_weight" if prefix == "gt" else "bc_final_coef", 0.0),
            config.get(f"{prefix}_warmup_steps", 0),
            config.get(f"{prefix}_decay_steps", 0),
            config.get(f"{prefix}_schedule", "linear"),
        )
        series = next(value for key, value in case.items() if "at_global_step" in key)
        np.testing.assert_allclose([schedule(step) for step in range(len(series))], series, atol=1e-12)
        if "gt_rows_added" in case:
            assert [schedule(step) > 0 for step in range(len(series))] == case["gt_rows_added"]


def test_policy_loss(golden):
    for case in golden["policy_loss"]["cases"]:
        mask = np.array(case["mask"], np.float32)
        terms = policy_terms(
            *(jnp.asarray(numbers(case[name]), jnp.float32) for name in ("log_prob", "old_log_prob", "advantages")),
            clip_low=case["clip_low"],
            clip_high=case["clip_high"],
            dual_clip=case["dual_clip_c"],
        )
        if math.isnan(number(case["loss"])):
            # The recorded loss is 0 / 0; ours has no token to learn from and is 0.
            assert mask.sum() == 0
            assert float((terms.loss * aggregation_weights(mask, case["mode"])).sum()) == 0.0
            assert np.isnan(micro_batch_weights(mask, len(mask))).all()
            continue
        loss = (terms.loss * aggregation_weights(mask, case["mode"])).sum()
        np.testing.assert_allclose(loss, case["loss"], **CLOSE, err_msg=f"{case['desc']} {case['mode']}")
        share = aggregation_weights(mask)
        for value, name in (
            (terms.clipped, "pg_clipfrac"),
            (-terms.log_ratio, "ppo_kl"),
            (terms.clipped_lower, "pg_clipfrac_lower"),
        ):
            np.testing.assert_allclose((value * share).sum(), case[name], **CLOSE, err_msg=f"{case['desc']} {name}")


def test_divergence_estimators(golden):
    for case in golden["kl_estimators"]["cases"]:
        ours, other = (jnp.asarray(case[name], jnp.float32) for name in ("logprob", "ref_logprob"))
        value = divergence(ours, other, case["type"])
        if isinstance(case["value"], str):  # straight-through: the value of one estimator, the gradient of another
            np.testing.assert_allclose(value, divergence(ours, other, case["type"].removesuffix("+")), **CLOSE)
            gradient = jax.grad(lambda x, other=other, kind=case["type"]: divergence(x, other, kind).sum())(ours)
            np.testing.assert_allclose(gradient, ours - other, **CLOSE)
        else:
            np.testing.assert_allclose(value, numbers(case["value"]), **CLOSE, err_msg=case["type"])


def test_auto_weights(golden):
    for case in golden["auto_weight"]["cases"]:
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in case["config"].items()}
        options["components"] = options.pop("keys")
        more = {
            ours: options.pop(key)
            for key, ours in (("sum_target", "sum_target"), ("key_overrides", "own"))
            if key in options
        }
        weights = AutoWeights(AutoWeightOptions(**options), case["init"], **more)
        updates = []
        for step, means in enumerate(case["series"], 1):
            new = weights.update(step, means)
            if new is not None:
                updates.append({"step": step, "weights": new, "alpha": weights.alpha})
        assert [u["step"] for u in updates] == [u["step"] for u in case["updates"]]
        for got, want in zip(updates, case["updates"], strict=True):
            for name in ("weights", "alpha"):
                assert got[name] == pytest.approx(want[name], rel=1e-9)


def test_whole_steps(golden):
    """Advantage, reference weight, loss and gradient together; the case without masks is the released behaviour."""
    for case in golden["hri_step"]["cases"]:
        mask, reference = np.array(case["mask"], np.float32), np.array(case["is_gt"], bool)
        advantages = group_advantages(case["scalar_reward"], case["group"], human_reference=reference)
        np.testing.assert_allclose(np.where(mask.any(1), advantages, 0.0), case["advantage_per_row"], **CLOSE)
        effective = np.where(reference, case["gt_weight"], 1.0) * advantages
        logprob = jnp.asarray(case["log_prob"], jnp.float32)

        def loss(x, share, logprob=logprob, effective=effective):
            return (policy_terms(x, logprob, jnp.asarray(effective)[:, None]).loss * share).sum()

        for share, value, gradient in (
            (aggregation_weights(mask), "global_token_mean_loss", "grad_logprob_global_token_mean"),
            (micro_batch_weights(mask, 2), "accumulated_loss_mean_of_micro_means", "grad_logprob_accumulated"),
        ):
            got, slope = jax.value_and_grad(loss)(logprob, share)
            np.testing.assert_allclose(got, number(case[value]), **CLOSE)
            np.testing.assert_allclose(slope, numbers(case[gradient]), **CLOSE)


def test_reference_rows_as_released_and_as_intended(golden):
    rows = golden["gt_row_construction"]
    members = []
    for number, (text, attended) in enumerate(zip(rows["gt_texts"], rows["response_attention"], strict=True)):
        reasoning, story = text.removeprefix("<think>\n").split("\n</think>\n")
        story = story.removesuffix("<|im_end|>")
        assert text.startswith(released.human_response(story, reasoning))
        # Intended: the prompt has opened the block, so nothing is opened twice.
        assert human_response(story, reasoning, opened=True).count("<think>") == 0
        task = RlTask(f"u{number}", np.zeros(4, np.int32), "", 0, human_reference=np.zeros(sum(attended), np.int32))
        label, said = f"{number}/u{number}", {"scalar": 0.5, "failed": None, "components": {}, "diagnostics": {}}
        rollout = Rollout(label, 0, np.zeros(3, np.int32), *np.zeros((2, 3), np.float32), "", "stop")
        members += [
            Member(RolloutRequest(label, 0, task), rollout, Reward(label, 0, said | {"scalar": 0.1 * number}, None)),
            Member(RolloutRequest(label, -1, task), None, Reward(label, -1, said, None)),
        ]
    advantages = np.ones(len(members), np.float32)
    for as_released, mask in (
        (False, rows["response_attention"]),
        (True, rows["as_released_response_mask_after_align"]),
    ):
        config = replace(RlConfig(), {"rl.as_released": as_released})
        config = released_trainer(config) if as_released else config
        batch = make_batch(members, advantages, config)
        counted = sum(
            np.count_nonzero(row)
            for row, drawn in zip(batch.fields["weights"], batch.fields["sampled"], strict=True)
            if not drawn.any()
        )
        assert counted == np.sum(mask)


def test_the_story_is_read_from_the_documented_field(golden, tmp_path):
    assert "KeyError" in golden["gt_row_construction"]["documented_schema_with_only_story_field"]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "Tell a story.", "story": "It rained."}))
    assert read_prompt_stories(str(file), stories=True)[0].story == "It rained."
