"""``polaris build --plan-judge``: a model judges plans once; its cost is foretold and counted; gaps keep a book out."""

import json

import pytest
from corpus_library import OPTIONS

from polaris_jax.cli import main
from polaris_jax.corpus import build_library, find_novels
from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec
from polaris_jax.scaffold import EntailmentSpec


@pytest.fixture
def command(library, tokenizer_folder, tmp_path, model):
    novels = [str(library / name) for name in ("the-weir.txt", "low-water.txt")]
    places = [f"--tokenizer={tokenizer_folder}", f"--out={tmp_path / 'store'}", "--runner=local"]
    judge = f"--plan-judge=openai:toy@{model.address}/v1,prices=2/8"
    return ["build", "--books", *novels, *places, "--window=6000", "--min-words=500", judge, "--json"]


def test_its_calls_are_foretold_counted_and_made_once(command, model, capsys, tmp_path):
    assert main([*command, "--estimate"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert model.calls == 0
    assert total["calls"] == total["judge_calls"] > 0
    assert total["usd"] == pytest.approx((2 * total["prompt_tokens"] + 8 * total["answer_tokens"]) / 1e6)
    assert main(command) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["run"]["ledger"]["calls"] == model.calls == total["calls"]  # an offline plan is the same in both
    assert built["run"]["ledger"]["usd"] == pytest.approx(model.calls * (2 * 2000 + 8 * 500) / 1e6)
    assert built["judge"]["name"] == "openai/toy"
    assert all(book["plan"]["model"]["bullets"] > 0 == book["plan"]["model"]["unanswered"] for book in built["books"])
    page = (tmp_path / "store.work" / "build_report.html").read_text(encoding="utf-8")
    assert "openai/toy judged besides" in page
    assert "gave no answer for" in page
    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["run"]["planned_now"] == 0
    assert model.calls == total["calls"]
    assert [book["plan"] for book in again["books"]] == [book["plan"] for book in built["books"]]


def test_a_book_whose_judge_leaves_gaps_stays_out_until_they_are_filled(library, tokenizer, tmp_path, model):
    client = ClientSpec(
        "openai", "toy", f"{model.address}/v1", cache=str(tmp_path / "replies"), attempts=1, backoff=0.0
    )

    def build():
        novels = find_novels([library / "the-weir.txt"])
        return build_library(novels, tmp_path / "store", tokenizer, OPTIONS, judge=EntailmentSpec(client))

    model.broken = lambda number: number % 3 == 0
    with pytest.raises(InputError, match="The judge of plans gave no answer for"):
        build()
    asked = model.calls
    model.broken = lambda number: False
    (book,) = build().report["books"]
    assert book["accepted"]
    assert 0 < model.calls - asked < asked


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ("nli:/nowhere", "a folder with config.json"),
        ("toy", "PROVIDER:MODEL"),
        ("openai:toy,colour=red", "fields are"),
        ("openai:toy,budget-usd=1", "needs prices"),
    ],
)
def test_a_wrong_judge_is_one_line(command, judge, told, capsys):
    words = [word for word in command if not word.startswith("--plan-judge")]
    assert main([*words, f"--plan-judge={judge}"]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said
    assert "\n" not in said
