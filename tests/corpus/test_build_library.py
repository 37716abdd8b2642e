"""A library build: every runner makes the same store, no work is done twice, and no book stops another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from corpus_library import OPTIONS, contents, piece

from polaris_jax.corpus import build_library, find_novels, steps
from polaris_jax.data import TokenStore
from polaris_jax.errors import InputError
from polaris_jax.trajectory import check

IN_PROCESS = ("--direct_num_workers=1", "--direct_running_mode=in_memory")


@pytest.fixture(scope="module")
def built(library, tokenizer, tmp_path_factory):
    """(folder, build) of the library, by the plain loop."""
    out = tmp_path_factory.mktemp("built") / "store"
    return out, build_library(find_novels([library]), out, tokenizer, OPTIONS, workers=1)


def test_every_transcript_is_valid_and_the_store_is_whole(built, tokenizer):
    out, build = built
    store = TokenStore.open(out, tokenizer)
    assert len(store) == len(build.report["trajectories"]) >= 4
    for index in range(len(store)):
        verdict = check(tokenizer.decode(store.read(index).tokens), "strict")
        assert verdict.ok, verdict.violations[:2]
        assert len(store.read(index)) <= OPTIONS.window
    assert store.verify() == []
    assert store.content_hash == build.report["content_hash"]
    titles = {store.meta(index)["title"] for index in range(len(store))}
    assert titles == {"The Weir", "The Ledger", "Low Water", "A Cold Survey"}


def test_books_that_cannot_be_used_have_a_reason_and_stop_nothing(built):
    _, build = built
    rows = {row["file"]: row for row in build.report["books"]}
    assert len(rows) == 6
    assert rows["note.txt"]["status"] == rows["noise.txt"]["status"] == "rejected"
    assert "short" in rows["note.txt"]["reason"]
    assert "not a text" in rows["noise.txt"]["reason"]
    assert build.run["errors"] == 0


def test_the_report_adds_up(built):
    _, build = built
    report = build.report
    assert report["tokens"] == sum(report["by_kind"].values()) == sum(row["tokens"] for row in report["books"])
    assert report["tokens"] == sum(split["tokens"] for split in report["splits"].values())
    assert sum(split["books"] for split in report["splits"].values()) == 4
    assert all(report["by_kind"][kind] for kind in ("prompt", "header", "scaffold", "copy", "prose"))
    by_author = {(row["author"], row["split"]) for row in report["books"] if row["accepted"]}
    assert len(by_author) == 3


@pytest.mark.parametrize(
    ("runner", "flags"),
    [
        ("DirectRunner", IN_PROCESS),
        ("PortableRunner", ("--job_endpoint=embed",)),
    ],
    ids=["DirectRunner", "PortableRunner"],
)
def test_beam_gives_the_same_bytes(built, library, tokenizer, tmp_path, runner, flags):
    pytest.importorskip("apache_beam", reason="pip install polaris-jax[beam] to run this")
    novels = find_novels([library])[::-1]  # the order does not matter either
    build = build_library(novels, tmp_path / "store", tokenizer, OPTIONS, runner=runner, beam_options=flags)
    assert build.run["planned_now"] == 4
    assert contents(tmp_path / "store") == contents(built[0])


def test_two_processes_give_the_same_bytes(built, library, tokenizer, tmp_path):
    moved = shutil.copytree(library, tmp_path / "elsewhere")
    build_library(find_novels([moved]), tmp_path / "store", tokenizer, OPTIONS, workers=2)
    assert contents(tmp_path / "store") == contents(built[0])


def test_building_again_does_nothing_and_changes_nothing(library, tokenizer, tmp_path, monkeypatch):
    first = build_library(find_novels([library]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    before = contents(tmp_path / "store")
    monkeypatch.setattr(steps, "make_trajectories", None)  # planning anything would fail
    again = build_library(find_novels([library]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    assert (first.run["planned_now"], first.run["read_now"]) == (4, 6)
    assert (again.run["planned_now"], again.run["read_now"], again.run["found_planned"]) == (0, 0, 4)
    assert contents(tmp_path / "store") == before
    assert again.report == first.report
    shutil.rmtree(tmp_path / "store")
    build_library(find_novels([library]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    assert contents(tmp_path / "store") == before


def test_only_the_new_book_is_planned(library, tokenizer, tmp_path, chapters):
    folder = shutil.copytree(library, tmp_path / "library")
    (folder / "low-water.txt").rename(tmp_path / "low-water.txt")
    build_library(find_novels([folder]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    (tmp_path / "low-water.txt").rename(folder / "low-water.txt")
    build = build_library(find_novels([folder]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    assert (build.run["planned_now"], build.run["found_planned"]) == (1, 3)
    assert len(TokenStore.open(tmp_path / "store")) == len(build.report["trajectories"])


def test_a_defect_in_one_book_is_a_row_and_the_others_are_built(built, library, tokenizer, tmp_path, monkeypatch):
    plan = steps.make_trajectories

    def broken(novel, *rest):
        if novel.title == "Low Water":
            raise ZeroDivisionError("no\nluck")
        return plan(novel, *rest)

    monkeypatch.setattr(steps, "make_trajectories", broken)
    build = build_library(find_novels([library]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    rows = {row["title"]: row for row in build.report["books"]}
    assert rows["Low Water"]["status"] == "error"
    assert rows["Low Water"]["reason"].startswith("error: ZeroDivisionError: no luck")
    assert build.run["errors"] == 1
    assert sum(row["accepted"] for row in rows.values()) == 3
    monkeypatch.undo()
    build_library(find_novels([library]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    assert TokenStore.open(tmp_path / "store").content_hash == built[1].report["content_hash"]


def test_of_two_editions_the_longer_is_kept(library, tokenizer, tmp_path, chapters):
    folder = tmp_path / "library"
    folder.mkdir()
    long, short = chapters[:5], [chapters[0], *chapters[1:4]]
    (folder / "a.txt").write_text(piece("The Hallin Inventory", "Nobody Known", short), encoding="utf-8")
    (folder / "b.txt").write_text(piece("Hallin", "Someone Else", long), encoding="utf-8")  # the same words
    (folder / "c.txt").write_text(piece("HALLIN.", "Else, Someone (1850-1900)", chapters[6:8]), encoding="utf-8")
    (folder / "d.txt").write_text(piece("Another Book", "Someone Else", chapters[8:10]), encoding="utf-8")
    build = build_library(find_novels([folder]), tmp_path / "store", tokenizer, OPTIONS, workers=1)
    rows = {row["file"]: row for row in build.report["books"]}
    assert [rows[f"{name}.txt"]["status"] for name in "abcd"] == ["duplicate", "built", "duplicate", "built"]
    assert "5-grams" in rows["a.txt"]["reason"]
    assert "same author and title" in rows["c.txt"]["reason"]
    assert rows["a.txt"]["duplicate_of"] == rows["b.txt"]["sha256"]


def test_nothing_to_build_leaves_no_store(library, tokenizer, tmp_path):
    with pytest.raises(InputError, match="short"):
        build_library([str(library / "note.txt")], tmp_path / "store", tokenizer, OPTIONS, workers=1)
    with pytest.raises(InputError, match="window"):
        build_library(
            [str(library / "the-weir.txt")], tmp_path / "store", tokenizer, replace(OPTIONS, window=600), workers=1
        )
    assert not (tmp_path / "store").exists()


def test_beam_options_are_checked(library, tokenizer, tmp_path):
    pytest.importorskip("apache_beam")
    novels = find_novels([library])
    for runner, flags, says in [
        ("DirectRunner", ["--no_such_option=1"], "--no_such_option"),
        ("NoRunner", [], "NoRunner"),
        ("DataflowRunner", ["--project=p", "--region=r", "--temp_location=gs://b/t"], "cannot reach"),
        ("local", ["--region=r"], "--region"),
    ]:
        with pytest.raises(InputError, match=says):
            build_library(novels, tmp_path / "store", tokenizer, OPTIONS, runner=runner, beam_options=flags)
    assert not (tmp_path / "store").exists()


BUILD = """
import sys
from polaris_jax.corpus import build_library, find_novels
from polaris_jax.data import load_tokenizer
from corpus_library import OPTIONS
if __name__ == "__main__":
    library, out, tokenizer, workers = sys.argv[1:]
    build = build_library(find_novels([library]), out, load_tokenizer(tokenizer), OPTIONS, workers=int(workers))
    print(build.run["planned_now"], build.run["found_planned"])
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_in_the_middle_it_goes_on_and_gives_the_same_bytes(
    built, library, tokenizer_folder, tmp_path, request, workers
):
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    command = [sys.executable, str(script), str(library), str(tmp_path / "store"), str(tokenizer_folder), str(workers)]
    environment = os.environ | {"PYTHONPATH": f"{request.path.parent}:{request.config.rootpath}"}
    books = tmp_path / "store.work" / "books"
    victim = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(books.glob("*.json")):
        assert victim.poll() is None, "it finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    finished = len(list(books.glob("*.json")))
    assert not (tmp_path / "store" / "manifest.json").exists()
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr[-2000:]
    planned, found = map(int, ran.stdout.split())
    assert found >= finished >= 1
    assert planned + found == 4
    assert contents(tmp_path / "store") == contents(built[0])


def test_finished_books_are_plain_files(built):
    """So that a person can look into the work area."""
    out, build = built
    work = out.with_name("store.work")
    facts = [json.loads(file.read_text(encoding="utf-8")) for file in (work / "books").glob("*.json")]
    assert sum(len(one["trajectories"]) for one in facts) == len(build.report["trajectories"])
    assert json.loads((work / "last_run.json").read_text(encoding="utf-8"))["run"]["planned_now"] == 4
    assert not [file for file in work.rglob("*") if "tmp" in file.name]
