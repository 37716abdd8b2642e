"""A build with plans by a model: no question is asked twice, books with gaps stay out until filled, budgets hold."""

import json
import shutil
from dataclasses import replace

import pytest
from corpus_library import OPTIONS, contents

from polaris_jax.cli import main
from polaris_jax.corpus import build_library, find_novels, new_job
from polaris_jax.corpus.steps import choose, close_models, keep_tokenizer, make, spent_so_far, survey
from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec
from polaris_jax.scaffold import AnnotatorSpec


def annotator(model, cache, **more) -> AnnotatorSpec:
    client = ClientSpec(
        "openai", "toy", base_url=f"{model.address}/v1", cache=str(cache), attempts=1, backoff=0.0, **more
    )
    return AnnotatorSpec("llm", client, samples=1)


@pytest.fixture
def build(library, tokenizer, tmp_path, model):
    def build(out="store", **client):
        novels = find_novels([library / "the-weir.txt", library / "low-water.txt"])
        options = replace(OPTIONS, per_book=1, window=6_000)
        spec = annotator(model, tmp_path / "replies", **client)
        return build_library(novels, tmp_path / out, tokenizer, options, spec)

    return build


def test_every_question_is_asked_once(build, model, tmp_path):
    first = build()
    asked = model.calls
    assert first.run["ledger"]["calls"] == asked > 20
    assert first.run["ledger"]["prompt_tokens"] == 2000 * asked
    assert first.report["annotator"]["name"] == "openai/toy"
    assert sum(first.report["fallback"].values()) <= 0.05 * sum(first.report["fields"].values())
    again = build()
    assert model.calls == asked
    assert (again.run["planned_now"], again.run["ledger"]) == (0, {})
    before = contents(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(tmp_path / "store.work")  # only the model's replies are left
    replayed = build()
    assert model.calls == asked
    assert replayed.run["planned_now"] == 2
    assert replayed.run["ledger"]["calls"] == 0
    assert contents(tmp_path / "store") == before


def test_a_book_with_too_many_gaps_stays_out_until_they_are_filled(build, model):
    model.broken = lambda number: number % 4 == 0
    with pytest.raises(InputError, match="Gate V11"):
        build()
    asked = model.calls
    model.broken = lambda number: False
    mended = build()
    assert all(row["accepted"] for row in mended.report["books"])
    assert 0 < model.calls - asked < asked


def test_a_spent_budget_stops_before_the_call_and_a_larger_one_goes_on(build, model, tmp_path):
    with pytest.raises(InputError, match="budget"):
        build(budget_tokens=40_000)
    asked = model.calls
    assert asked > 0
    assert not (tmp_path / "store").exists()
    finished = build()
    assert not finished.run["unfinished"]
    total = model.calls
    model.requests.clear()
    build("elsewhere")  # the replies are all there
    assert model.calls == 0
    assert total > asked


def test_from_the_command_line(library, tokenizer_folder, tmp_path, model, capsys):
    command = [
        "build",
        "--books",
        str(library / "the-weir.txt"),
        f"--tokenizer={tokenizer_folder}",
        f"--out={tmp_path / 'store'}",
        "--runner=local",
        "--window=6000",
        "--min-words=500",
        "--per-book=1",
        "--annotator=openai",
        "--model=toy",
        f"--base-url={model.address}/v1",
        "--samples=1",
        "--json",
    ]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["run"]["ledger"]["calls"] == model.calls > 0
    assert (tmp_path / "store.work" / "replies").is_dir()
    page = (tmp_path / "store.work" / "build_report.html").read_text(encoding="utf-8")
    assert "openai/toy" in page
    assert "What the model cost" in page


def test_progress_says_what_the_model_has_cost(library, tokenizer, tmp_path, model):
    spec = annotator(model, tmp_path / "replies", prices=(1_000.0, 0.0))
    job, _ = new_job([library / "the-weir.txt"], tmp_path / "store", tokenizer, OPTIONS, spec)
    assert spent_so_far(job) == ""
    row = survey(job, str(library / "the-weir.txt"))
    keep_tokenizer(job.work, tokenizer)
    (chosen,) = choose(job, [row])
    make(job, chosen)
    calls = model.calls
    assert spent_so_far(job) == f": {calls:,} calls, {2500 * calls:,} tokens, ${2.0 * calls:,.2f}"
    close_models(job.run)
