"""``polaris segment``: what it writes where, and what it refuses in one line."""

import json

import pytest

from polaris_jax.cli import main
from tests.library.conftest import book, prose

HEADINGS = [f"CHAPTER {n}" for n in ("I", "II", "III")]


@pytest.fixture
def shelf(tmp_path):
    """A novel, and a note that is too short."""
    (tmp_path / "novel.txt").write_text(book(HEADINGS), encoding="utf-8")
    (tmp_path / "note.txt").write_text(book(HEADINGS[:2], paragraphs=3), encoding="utf-8")
    return tmp_path


def by_file(capsys, *arguments):
    return {record["path"].rsplit("/")[-1]: record for record in records_of(capsys, *arguments)}


def records_of(capsys, *arguments):
    assert main(["segment", *map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_account_is_in_the_json(shelf, capsys):
    found = by_file(capsys, shelf)
    account = found["novel.txt"]["account"]
    assert account["words"] == account["in_chapters"] + account["dropped_words"]
    assert found["novel.txt"]["accepted"]
    assert not found["note.txt"]["accepted"]


@pytest.mark.parametrize(
    ("flags", "accepted"),
    [
        (["--accept"], {"novel.txt": True, "note.txt": True}),
        (["--accept", "note*"], {"novel.txt": True, "note.txt": True}),
        (["--reject", "nov*"], {"novel.txt": False, "note.txt": False}),
        (["--reject=novel.txt", "--accept=note.txt"], {"novel.txt": False, "note.txt": True}),
    ],
)
def test_accepted_and_rejected_by_glob(shelf, capsys, flags, accepted):
    found = by_file(capsys, shelf, *flags)
    assert {name: record["accepted"] for name, record in found.items()} == accepted


def test_a_verdict_before_the_only_book(shelf, capsys):
    (record,) = records_of(capsys, "--accept", shelf / "note.txt")
    assert record["accepted"]


def test_headings_of_one_book_by_hand(shelf, capsys):
    (shelf / "odd.txt").write_text(book(["~ one", "~ two", "~ three"]), encoding="utf-8")
    found = by_file(capsys, shelf, "--heading", "odd.txt=~ ")
    assert found["odd.txt"]["chapter_count"] == found["novel.txt"]["chapter_count"] == 3
    assert found["odd.txt"]["structure"] == "chapters by the given headings"


def test_what_is_lost_is_a_warning_in_the_terminal_too(shelf, capsys):
    tail = "\n\n\n\n\nA LIST OF OTHER THINGS\n\n" + prose(9, seed=7)
    (shelf / "novel.txt").write_text(book(HEADINGS) + tail, encoding="utf-8")
    for flags in ([], ["--json"]):
        assert main(["segment", str(shelf / "novel.txt"), *flags]) == 0
        warnings = [line for line in capsys.readouterr().err.splitlines() if "no known apparatus" in line]
        assert len(warnings) == 1
        assert warnings[0].startswith("warning: novel.txt: ")


def test_the_review_page(shelf, capsys):
    page = shelf / "review" / "page.html"
    assert main(["segment", str(shelf), "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert "Chapter III" in html
    assert "It is too short" in html
    assert "GREY" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--heading", "("], "--heading='('"),
        (["--heading", "nothing has this"], "matches no line"),
        (["--accept", "x*"], "--accept='x*'"),
        (["--accept", "--reject"], "accepted book too"),
        (["--html", "s3://bucket/page.html"], "s3://"),
    ],
)
def test_mistakes_are_one_line(shelf, capsys, arguments, says):
    assert main(["segment", str(shelf / "novel.txt"), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_no_book_at_all(capsys):
    assert main(["segment"]) == 2
    assert "BOOK" in capsys.readouterr().err
