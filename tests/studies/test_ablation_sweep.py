"""Ablations: forms of a trajectory, held-out loss, free runs, and a stopped sweep that goes on."""

import json
import math

import numpy as np
import pytest

from polaris_jax.data import TokenStore, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.evals.documents import markdown
from polaris_jax.sharding import make_mesh
from polaris_jax.studies.ablation import (
    VARIANTS,
    AblationSpec,
    SweepRun,
    ablation_document,
    read_sweep_runs,
    run_ablation,
    vary,
)
from polaris_jax.studies.ablation.heldout import held_out_loss
from polaris_jax.studies.ablation.report import prose_difference, prose_loss
from polaris_jax.training import default_config, load_weights, train_config
from polaris_jax.trajectory import KINDS, split_stages
from polaris_jax.trajectory.stages import TEXT_ROLES

WINDOW = 2048


@pytest.fixture(scope="module")
def tokenizer(material):
    return load_tokenizer(str(material / "model"))


@pytest.fixture(scope="module")
def store(material, tokenizer):
    return TokenStore.open(material / "store", tokenizer)


def text(trajectory, tokenizer):
    tokens = trajectory.tokens.tolist()
    return tokenizer.decode(tokens[1:] if tokens[0] == tokenizer.bos_id else tokens)


def roles(trajectory, tokenizer):
    return [stage.role for stage in split_stages(text(trajectory, tokenizer))]


def test_every_form_teaches_the_same_prose_token_for_token(store, tokenizer):
    whole = store.read(0)
    prose = KINDS.index("prose")
    for name in VARIANTS:
        other = vary(whole, name, tokenizer)
        np.testing.assert_array_equal(other.tokens[other.kinds == prose], whole.tokens[whole.kinds == prose])
        assert other.weights[other.kinds == prose].sum() == whole.weights[whole.kinds == prose].sum()
        assert other.tokens[0] == whole.tokens[0]


def test_the_forms_are_what_they_are_called(store, tokenizer):
    whole = store.read(0)
    before = roles(whole, tokenizer)
    assert roles(vary(whole, "trajectory", tokenizer), tokenizer) == before
    assert set(roles(vary(whole, "no_scaffold", tokenizer), tokenizer)) == {"prompt", *TEXT_ROLES}
    after = roles(vary(whole, "scaffold_after", tokenizer), tokenizer)
    assert sorted(after) == sorted(before)
    assert after.index("book_plan") > max(i for i, role in enumerate(after) if role in TEXT_ROLES)
    bare = vary(whole, "no_scenes", tokenizer)
    assert "Scene Breakdown" not in text(bare, tokenizer)
    assert "scene_breakdown" not in roles(bare, tokenizer)
    assert text(bare, tokenizer).count("Chapter Summary") == text(whole, tokenizer).count("Chapter Summary")
    late = roles(vary(whole, "late_first_chapter", tokenizer), tokenizer)
    assert late.index("first_chapter_text") > late.index("full_book_chapters_plan")
    assert before.index("first_chapter_text") < before.index("full_book_chapters_plan")
    with pytest.raises(InputError, match="no_scaffold"):
        vary(whole, "upside_down", tokenizer)


@pytest.fixture(scope="module")
def config(material):
    config = default_config()
    config.model.update({"path": str(material / "model"), "compute_dtype": "float32", "attention_block": 128})
    config.mesh.update({"context": 4, "fsdp": 2})
    config.data.update({"store": str(material / "store"), "window": WINDOW, "batch_size": 2, "threads": 1})
    config.optim.update({"learning_rate": 2e-2, "warmup": 1, "newton_schulz_dtype": "float32"})
    config.train.update({"checkpoint_every": 2, "async_checkpoints": False})
    return config


def test_a_random_model_knows_nothing_about_any_role(config, store):
    config = train_config(config)
    mesh = make_mesh(config.mesh.sizes())
    model, params, _ = load_weights(config.model.path, mesh=mesh)
    found = held_out_loss(config, params, model, mesh, store, store.where(split="validation"))
    assert "prompt" not in found.roles  # nobody is asked to write it
    for loss in [*found.roles.values(), *found.kinds.values()]:
        assert loss == pytest.approx(math.log(model.vocab_size), abs=0.5)
    assert sum(tokens for _, tokens in found.prose_by_batch) < found.tokens
    with pytest.raises(InputError, match="held out"):
        held_out_loss(config, params, model, mesh, store, store.where(split="test"))


@pytest.fixture(scope="module")
def sweep(config, tmp_path_factory):
    runs = (SweepRun("base", train=False), SweepRun("trajectory"), SweepRun("plain", "no_scaffold", epochs=2))
    out, spec, steps = tmp_path_factory.mktemp("sweep"), AblationSpec(free_runs=1, free_tokens=24, tokens=8000), []

    def run():
        return run_ablation(config, runs, out, spec, on_step=lambda one, record: steps.append((one.name, record)))

    return run, run(), steps, out


@pytest.mark.slow
def test_a_sweep_trains_measures_and_is_not_done_twice(sweep):
    run, results, steps, _ = sweep
    by_name = {one["arm"]["name"]: one for one in results}
    assert by_name["base"]["steps"] == 0
    assert by_name["trajectory"]["tokens"] == pytest.approx(8000, rel=0.5)
    assert by_name["plain"]["epochs"] == pytest.approx(2, abs=0.6)
    loss = {name: one["held_out"]["plain"]["kinds"]["prose"] for name, one in by_name.items()}
    assert loss["plain"] < loss["base"]
    assert all(len(one["free_runs"]) == 1 and one["free_runs"][0]["tokens"] == 24 for one in results)
    before = len(steps)
    assert run() == json.loads(json.dumps(results))
    assert len(steps) == before


@pytest.mark.slow
def test_a_lost_result_is_measured_again_without_training_again(sweep):
    run, results, steps, out = sweep
    (out / "arms" / "trajectory" / "result.json").unlink()
    before = len(steps)
    assert run()[1]["held_out"] == json.loads(json.dumps(results))[1]["held_out"]
    assert len(steps) == before


def test_the_table_has_a_row_and_intervals_per_arm():
    def result(name, variant, nats, loops):
        held = {
            "roles": {"chapter_text": nats},
            "kinds": {"prose": nats},
            "tokens": 30,
            "prose_by_batch": [(10 * nats, 10), (22 * nats, 20)],
        }
        run = {"document": 0, "text": "", "tokens": 9, "distinct_4": 0.5, "repeated_12": 0.25, "loop_at": loops}
        return {
            "arm": SweepRun(name, variant).to_json(),
            "steps": 4,
            "tokens": 100,
            "epochs": 1.0,
            "train_loss": 2.0,
            "train_prose_loss": 2.0,
            "held_out": {"own": held, "plain": held},
            "free_runs": [run, run],
        }

    results = [result("first", "trajectory", 3.0, 1.0), result("second", "no_scaffold", 2.0, 0.4)]
    main, differences, bars = ablation_document(results, {}).sections[0].parts
    text = markdown(main)
    assert [row[0] for row in main.rows] == ["first", "second"]
    assert "0 of 2" in text
    assert "2 of 2" in text
    [(_, first), (_, second)] = bars.bars
    assert first.value == pytest.approx(3 * 32 / 30)
    assert second.low <= second.value <= second.high
    assert second.low < second.high
    [(name, loss, distinct, repeated, loop)] = differences.rows
    assert (name, distinct.value, repeated.value) == ("second", 0.0, 0.0)
    assert loss.value == pytest.approx(-32 / 30)
    assert loop.value == pytest.approx(-0.6)
    assert len(ablation_document(results[:1], {}).sections[0].parts) == 2


def test_pairs_of_batches_tell_arms_apart_where_their_own_intervals_do_not():
    def result(shift, batches):
        return {"held_out": {"plain": {"prose_by_batch": [(n * (nats + shift), n) for nats, n in batches]}}}

    batches = [(2.0, 10), (3.0, 40), (4.0, 20), (5.0, 30), (3.5, 25)]
    first, second = result(0.0, batches), result(-0.1, batches)
    alone = [prose_loss(one, "plain") for one in (first, second)]
    assert alone[1].high > alone[0].low
    paired = prose_difference(second, first)
    assert paired.value == pytest.approx(-0.1)
    assert paired.high < -0.09
    assert prose_difference(second, result(0.0, batches[:-1])) is None  # not the same tokens


def test_sweep_runs_are_read_from_a_file_and_mistakes_are_named(tmp_path):
    file = tmp_path / "arms.json"
    file.write_text(
        json.dumps([{"name": "hot", "overrides": ["optim.learning_rate=1e-3"]}, {"name": "base", "train": False}])
    )
    assert read_sweep_runs(file) == (
        SweepRun("hot", overrides=("optim.learning_rate=1e-3",)),
        SweepRun("base", train=False),
    )
    for content, word in (
        ([{"name": "x", "variant": "y"}], "variant"),
        ([{"nam": "x"}], "name"),
        ([{"name": "x"}, {"name": "x"}], "twice"),
        ([], "list"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(InputError, match=word):
            read_sweep_runs(file)
