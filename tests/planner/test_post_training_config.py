"""``polaris plan`` of a post-training config: phases with memory, time and money; other verbs name the right one."""

import json

import pytest
from topology_programs import ROOT, needs_libtpu

from polaris_jax import post_training_plan as planning
from polaris_jax.cli import main
from polaris_jax.errors import InputError
from polaris_jax.post_training_plan import PROGRAMS, plan_post_training
from polaris_jax.rl import default_rl_config
from polaris_jax.rl.config import rl_config
from polaris_jax.rl.rollout_weights import rollout_axes
from polaris_jax.training import apply_overrides, load_config

RECIPE = "qwen3_5_9b_polaris"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path / "plans"))
    return tmp_path / "plans"


def test_another_verb_names_the_right_one(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--workdir=run", f"--config={ROOT / 'configs' / 'qwen3_5_9b_polaris.py'}"]) == 2
    line = capsys.readouterr().err
    assert "polaris rl" in line
    assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_recipe_by_arithmetic(capsys):
    assert main(["plan", f"--config={RECIPE}", "--topology=v5p-16", "--estimate", "--json"]) == 0
    v = json.loads(capsys.readouterr().out)
    assert [phase["name"] for phase in v["phases"]] == list(PROGRAMS)
    assert v["rollout_mesh"] == {"data": 2, "fsdp": 1, "context": 1, "tensor": 4}
    assert (v["rows"], v["tokens"]) == (48, 48 * 8448)
    assert v["step_s"] == pytest.approx(sum(phase["seconds"] for phase in v["phases"]))
    assert v["hours"] == pytest.approx(173 * (v["step_s"] + v["judge_wait_s"]) / 3600)
    assert v["judge_calls"] == 173 * 48  # every reference is taken to be new
    assert all(phase["least"] <= phase["seconds"] for phase in v["phases"])
    # Decoding reads at least the weights, four devices to a copy, once per token.
    rollout = v["phases"][0]
    assert rollout["least"] > 8192 * 2 * 8.9e9 / 4 / 2.77e12


def test_a_person_sees_a_row_per_phase(capsys):
    assert main(["plan", f"--config={RECIPE}", "--topology=v5p-8", "--estimate"]) == 0
    said = capsys.readouterr().out
    for word in ("rollout", "gradients", "update", "173 steps", "questions"):
        assert word in said


@pytest.mark.parametrize("flag", ["--full", "--largest-context", "--slices=2"])
def test_flags_of_the_other_kind_are_refused(flag, capsys):
    assert main(["plan", f"--config={RECIPE}", "--topology=v5p-8", "--estimate", flag]) == 2
    said = capsys.readouterr().err
    assert flag.partition("=")[0] in said
    assert said.count("\n") == 1


def test_a_run_without_a_judge_asks_nobody():
    config = apply_overrides(load_config(RECIPE), ["judge.kind=none"])
    v = plan_post_training(config, "v5p-8", estimate=True)
    assert (v.judge_calls, v.judge_usd, v.judge_wait_s) == (None, None, 0.0)


def test_what_the_compiler_said_of_a_phase_is_kept_on_disk(kept, monkeypatch):
    asked = []
    monkeypatch.setattr(planning, "compiler_version", lambda: "1")

    def interrupted(work, phase, rows):
        if phase == "gradients" and not asked.count(phase):
            asked.append(phase)
            raise KeyboardInterrupt
        asked.append(phase)
        return work.arithmetic(phase)

    monkeypatch.setattr(planning._Work, "_compiled", interrupted)
    config = load_config(RECIPE)
    with pytest.raises(KeyboardInterrupt):
        plan_post_training(config, "v5p-8")
    assert asked == ["rollout", "log-probabilities", "gradients"]
    first = plan_post_training(config, "v5p-8")  # goes on where it stood
    assert asked == ["rollout", "log-probabilities", "gradients", "gradients", "update"]
    assert first.phases == plan_post_training(config, "v5p-8", estimate=True).phases

    # Paths, judge and prices do not change these programs.
    elsewhere = apply_overrides(load_config(RECIPE), ["data.train=elsewhere", "judge.kind=none"])
    assert plan_post_training(elsewhere, "v5p-8").judge_calls is None
    assert first == plan_post_training(config, "v5p-8")
    assert len(asked) == 5

    for change in ("rollout.slots=24", "model.remat=attention", "rl.window=16384"):
        before = len(asked)
        plan_post_training(apply_overrides(load_config(RECIPE), [change]), "v5p-8")
        assert len(asked) == before + 4
    plan_post_training(config, "v5p-16")
    plan_post_training(config, "v5p-8", cached=False)
    monkeypatch.setattr(planning, "compiler_version", lambda: "2")
    plan_post_training(config, "v5p-8")
    assert len(asked) == 5 + 3 * 4 + 3 * 4
    assert len(list(kept.glob("*.json"))) == 6 * 4


def test_a_torn_record_of_a_phase_is_made_again(kept, monkeypatch):
    monkeypatch.setattr(planning, "compiler_version", lambda: "1")
    monkeypatch.setattr(planning._Work, "_compiled", lambda work, phase, rows: work.arithmetic(phase))
    first = plan_post_training(load_config(RECIPE), "v5p-8")
    for file in kept.glob("*.json"):
        file.write_text("{")
    assert plan_post_training(load_config(RECIPE), "v5p-8") == first


@needs_libtpu
@pytest.mark.slow
def test_a_plan_read_from_disk_is_the_one_that_was_compiled(kept):
    config = load_config("smollm2_polaris_demo", ["model.path=smollm2_135m"])
    first = plan_post_training(config, "v5p-8")
    written = {file: file.stat().st_mtime_ns for file in kept.glob("*.json")}
    assert first.source == "compiler"
    assert len(written) == len(PROGRAMS)
    assert plan_post_training(config, "v5p-8") == first
    assert {file: file.stat().st_mtime_ns for file in kept.glob("*.json")} == written


@pytest.mark.parametrize(
    ("tensor", "slots", "devices", "want"),
    [
        (0, 48, 8, {"data": 2, "tensor": 4}),
        (0, 7, 8, {"context": 2, "tensor": 4}),
        (2, 48, 8, {"data": 4, "tensor": 2}),
        (1, 6, 4, {"data": 2, "context": 2}),
        (0, 48, 1, {}),
    ],
)
def test_rollouts_spread_rows_before_tokens(tensor, slots, devices, want):
    model = _recipe_model()
    config = rl_config(_recipe(tensor=tensor, slots=slots))
    axes = rollout_axes(config, model, devices)
    assert axes == dict.fromkeys(("data", "fsdp", "context", "tensor"), 1) | want


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match=r"rollout\.tensor"):
        rollout_axes(rl_config(_recipe(tensor=8)), _recipe_model(), 8)


def _recipe(**rollout):
    config = default_rl_config()
    config.model.path, config.data.train = "qwen3_5_9b", "unread"
    config.rollout.update(rollout)
    return config


def _recipe_model():
    from polaris_jax.models.model_folder import read_config

    return read_config("qwen3_5_9b", shape_only=True)
