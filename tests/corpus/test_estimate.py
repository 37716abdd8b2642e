"""``polaris build --estimate``: the estimated cost of a library's plans is what they cost, and no call is made."""

import json

import pytest

from polaris_jax.cli import main


@pytest.fixture
def command(library, tokenizer_folder, tmp_path, model):
    return [
        "build",
        "--books",
        str(library / "the-weir.txt"),
        str(library / "low-water.txt"),
        f"--tokenizer={tokenizer_folder}",
        f"--out={tmp_path / 'store'}",
        "--runner=local",
        "--window=6000",
        "--min-words=500",
        "--annotator=openai",
        "--model=toy",
        f"--base-url={model.address}/v1",
        "--samples=2",
        "--json",
    ]


def test_an_estimate_makes_no_call_and_a_build_makes_as_many(command, model, capsys, tmp_path):
    assert main([*command, "--estimate", "--prices=0.5,3"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert model.calls == 0
    assert not (tmp_path / "store").exists()
    total = said["total"]
    assert total["books"] == len(said["books"]) == 2
    for name in ("calls", "prompt_tokens", "answer_tokens"):
        assert total[name] == sum(book[name] for book in said["books"]) > 0
    assert total["usd"] == pytest.approx((0.5 * total["prompt_tokens"] + 3 * total["answer_tokens"]) / 1e6)
    assert total["hours"] > 0
    assert main(command) == 0
    made = json.loads(capsys.readouterr().out)["run"]["ledger"]["calls"]
    # The estimate counts the library's scenes, the build the model's. The build's calls also hold this model's
    # corrections.
    assert total["calls"] == pytest.approx(made, rel=0.15)


def test_without_prices_the_tokens_are_said_and_no_money(command, capsys):
    assert main([*command[:-1], "--estimate"]) == 0
    said = capsys.readouterr().out
    assert "no price is known for openai/toy: give --prices" in said
    assert "$" not in said
    assert " min; " in said


def test_the_offline_annotator_has_nothing_to_estimate(library, tokenizer_folder, tmp_path, capsys):
    books = [f"--tokenizer={tokenizer_folder}", f"--out={tmp_path / 'store'}", "--books", str(library / "the-weir.txt")]
    assert main(["build", *books, "--estimate"]) == 2
    assert "--estimate" in capsys.readouterr().err
