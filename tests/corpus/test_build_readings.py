"""A build follows a user's rules for single books, reports where their words went, and refuses collections."""

import json
from pathlib import Path

import pytest

from polaris_jax.cli import main
from polaris_jax.report.build_report import build_page
from tests.corpus.test_story_pairs import ANTHOLOGY

MINI = ["--window=4096", "--min-words=500", "--per-book=1", "--runner=local", "--workers=1"]


@pytest.fixture(scope="module")
def shelf(library, tmp_path_factory):
    """Two novels and an anthology."""
    folder = tmp_path_factory.mktemp("shelf")
    for file in (library / "the-weir.txt", library / "low-water.txt", ANTHOLOGY):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def command(shelf, tokenizer_folder):
    return ["build", "--books", str(shelf), f"--tokenizer={tokenizer_folder}", *MINI]


@pytest.fixture(scope="module")
def built(command, tmp_path_factory):
    """The report of a build in which one novel is rejected by hand."""
    out = tmp_path_factory.mktemp("built") / "store"
    assert main([*command, f"--out={out}", "--reject=low*"]) == 0
    return json.loads((out / "build_report.json").read_text(encoding="utf-8"))


def test_a_collection_is_refused_with_the_reason_and_a_rejected_book_is_left_out(built):
    rows = {row["file"]: row for row in built["books"]}
    assert rows["the-weir.txt"]["status"] == "built"
    assert rows["low-water.txt"]["reason"] == "It was rejected by hand."
    assert rows["turns_of_fate.txt"]["status"] == "rejected"
    assert "collection of separate pieces" in rows["turns_of_fate.txt"]["reason"]


def test_the_report_tells_where_the_words_of_a_file_went(built, shelf):
    row = next(row for row in built["books"] if row["file"] == "the-weir.txt")
    account = row["account"]
    assert account["words"] == len((shelf / row["file"]).read_text(encoding="utf-8").split())
    assert account["words"] == account["in_chapters"] + account["dropped_words"]
    assert {stretch["reason"] for stretch in account["dropped"]} >= {"licence"}
    page = build_page(built)
    assert "Where the words of each file went" in page
    assert f"{account['in_chapters']:,} in chapters" in page


def test_accepted_by_hand_and_given_headings(command, tmp_path, capsys):
    flags = ["--accept=turns*", "--heading=turns*=[A-Z' ]{12,}$", "--reject=*-w*.txt", "--json"]
    assert main([*command, f"--out={tmp_path / 'store'}", *flags]) == 0
    captured = capsys.readouterr()
    row = next(row for row in json.loads(captured.out)["books"] if row["accepted"])
    assert (row["file"], row["structure"]) == ("turns_of_fate.txt", "chapters by the given headings")


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--accept=other*", "--accept='other*'"),
        ("--heading=(", "--heading='('"),
        ("--reject=*", "rejected by hand"),
    ],
)
def test_a_wrong_rule_is_one_line(command, tmp_path, capsys, flag, says):
    out = Path(tmp_path / "store")
    assert main([*command, f"--out={out}", flag]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert says in captured.err
    assert not out.exists()
