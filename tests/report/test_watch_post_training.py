"""``polaris watch`` on a post-training run: a run whose judge is away or refuses is not shown as healthy."""

import io
import json

import pytest
from rich.console import Console

from polaris_jax.report.dashboard import dashboard
from polaris_jax.report.run_state import JUDGE_SILENCE, read_state

NOW = 1_800_000_000.0
RECORD = {
    "loss": 0.01,
    "reward/policy": 0.3,
    "reward/policy/story_quality": 0.4,
    "reward/reference": 0.6,
    "length/words": 950.0,
    "length/target": 1200.0,
    "judge/failed/refused": 1.0,
    "judge/usd": 2.5,
    "judge/paused_s": 90.0,
    "policy/kl_old": 0.002,
    "policy/ratio": 1.01,
    "sampler/surprise": 1.7,
    "step_time_s": 60.0,
}


@pytest.fixture
def workdir(tmp_path):
    """Two of ten steps, half a minute ago, with 5 USD spent of a forecast of 20."""
    (tmp_path / "run.json").write_text(json.dumps({"config": {"train.steps": 10, "rl.objective": "grpo"}}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": n} | RECORD) + "\n" for n in (1, 2)))
    ledger = {"calls": 96, "cached": 2, "failed": 1, "retries": 0, "tokens": 10**6, "usd": 5.0}
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    (tmp_path / "start.json").write_text(json.dumps({"forecast_usd": 20.0}))
    events = {"event": "step", "step": 2, "time": NOW - 30, "seconds": 60.0}
    (tmp_path / "events.jsonl").write_text(json.dumps(events) + "\n")
    return tmp_path


def judge_is(workdir, state, **facts):
    content = {"state": state, "time": NOW - 5, "paused_s": 0.0, **facts}
    (workdir / "judge.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("status", "health", "said"),
    [
        (("answering", {}), None, None),
        (("away", {"since": NOW - 300, "kind": "server", "detail": "HTTP 503", "asked": 9}), "paused", "away for 5"),
        (("away", {"since": NOW - 9e3, "time": NOW - JUDGE_SILENCE - 60, "kind": "server"}), "stale", "start the run"),
        (("hopeless", {"kind": "auth", "detail": "HTTP 401 no such key"}), "failed", "auth: HTTP 401"),
    ],
    ids=["answers", "away", "away, and the process is gone", "cannot be asked"],
)
def test_the_judge_is_part_of_the_health(workdir, status, health, said):
    state, facts = status
    judge_is(workdir, state, **facts)
    found = read_state(workdir, now=NOW)
    assert health in (None, found.health)
    assert said is None or said in found.sentence
    assert (found.health in ("paused", "failed")) is (health in ("paused", "failed"))


def test_a_frame_shows_rewards_lengths_failures_and_the_price(workdir):
    out = io.StringIO()
    Console(file=out, width=120).print(dashboard(read_state(workdir, now=NOW), 120))
    frame = out.getvalue()
    for words in ("Story Quality", "950 of 1,200 asked", "refused", "5.00 USD", "forecast 20.00 USD", "25.00 USD"):
        assert words in frame
    for words in ("KL from the policy", "mean ratio", "entropy"):
        assert words in frame
    assert "nats per token)" not in frame  # the loss of a policy is not a likelihood
