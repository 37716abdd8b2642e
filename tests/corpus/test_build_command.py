"""The command line of ``polaris build``."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import refused
from corpus_library import contents

from polaris_jax.cli import main
from polaris_jax.data import TokenStore

MINI = ["--window=4096", "--min-words=500", "--per-book=1"]


def test_build_then_build_again(library, tokenizer_folder, tmp_path, capsys):
    command = [
        "build",
        "--books",
        str(library),
        f"--tokenizer={tokenizer_folder}",
        f"--out={tmp_path / 'store'}",
        f"--transcripts={tmp_path / 'text'}",
        "--runner=local",
        "--workers=1",
        *MINI,
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "4 trajectories of 4 books" in said
    assert "rejected note.txt" in said
    before = contents(tmp_path / "store")
    assert {"manifest.json", "build_report.json", "build_report.html"} <= set(before)
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["run"]["planned_now"] == 0
    assert report["content_hash"] == TokenStore.open(tmp_path / "store").content_hash
    assert contents(tmp_path / "store") == before
    texts = sorted((tmp_path / "text").iterdir())
    assert [f"text/{file.name}" for file in texts] == [row["file"] for row in report["trajectories"]]
    assert main(["inspect", str(texts[0])]) == 0


def test_the_pages_tell_the_content_and_the_run(library, tokenizer_folder, tmp_path):
    assert (
        main(
            [
                "build",
                "--books",
                str(library),
                f"--tokenizer={tokenizer_folder}",
                f"--out={tmp_path / 'store'}",
                "--runner=local",
                "--workers=1",
                *MINI,
            ]
        )
        == 0
    )
    page = (tmp_path / "store" / "build_report.html").read_text(encoding="utf-8")
    run = (tmp_path / "store.work" / "build_report.html").read_text(encoding="utf-8")
    for text in ("A Cold Survey", "Agnes Holm", "note.txt", "It is too short", "39.35 %", "60.43 %", "0.23 %"):
        assert text in page
        assert text in run
    assert "tokens/s" in run
    assert "tokens/s" not in page  # equal inputs, equal page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_config_file_and_flags_that_win(library, tokenizer_folder, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        f"    return ConfigDict({{'books': {str(library)!r}, 'tokenizer': {str(tokenizer_folder)!r}, 'window': 8192,\n"
        "        'min_words': 500, 'per_book': 1, 'runner': 'local', 'workers': 1, 'split': '1/0/0'})\n"
    )
    command = ["build", f"--config={config}", f"--out={tmp_path / 'store'}", "--window=4096", "--json"]
    assert main([*command, "--config.per_book=2"]) == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert (options["window"], options["per_book"], options["shares"]) == (4096, 2, [1.0, 0.0, 0.0])
    assert "perbook" in refused(capsys, "build", *command[1:], "--config.perbook=2")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--profile=full", "--window=-1"], "--window"),
        (["--split=90/10"], "--split"),
        (["--split=a/b/c"], "--split"),
        (["--prompts-per-book=9"], "--prompts-per-book"),
        (["--model=some-model"], "--model"),
        (["--annotator=openai"], "model"),
        (["--annotator=openai", "--model=m", "--budget-usd=1"], "prices"),
        (["--no-such-flag=1"], "--no-such-flag"),
        (["--runner=DirectRunner", "--no_such_option=1"], "--no_such_option"),
        (["--runner=NoRunner"], "NoRunner"),
        (["--out=s3://bucket/store"], "s3://"),
        (["--config.window=3"], "--config"),
    ],
)
def test_a_wrong_flag_is_one_line_and_leaves_nothing(library, tokenizer_folder, tmp_path, capsys, flags, says):
    if any(flag.startswith("--runner") for flag in flags):
        pytest.importorskip("apache_beam")
    elif not any("unner" in flag for flag in flags):
        flags = ["--runner=local", *flags]
    line = refused(
        capsys, "build", "--books", library, "--tokenizer", tokenizer_folder, "--out", tmp_path / "store", *flags
    )
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_missing_flags_and_files(library, tokenizer_folder, tmp_path, capsys):
    assert "--books" in refused(capsys, "build", "--tokenizer", tokenizer_folder, "--out", tmp_path / "store")
    assert "no such file" in refused(
        capsys, "build", "--books", tmp_path / "*.txt", "--tokenizer", tokenizer_folder, "--out", tmp_path / "store"
    )


@pytest.mark.slow
def test_a_beam_build_on_all_cores_that_is_killed_goes_on(library, tokenizer_folder, tmp_path):
    """The default DirectRunner: worker processes of its own, which must not outlive it."""
    pytest.importorskip("apache_beam")
    command = [
        sys.executable,
        "-m",
        "polaris_jax.cli",
        "build",
        "--books",
        str(library),
        "--tokenizer",
        str(tokenizer_folder),
        "--out",
        str(tmp_path / "store"),
        "--json",
        *MINI,
    ]
    books = tmp_path / "store.work" / "books"
    with (tmp_path / "log").open("w") as log:
        victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
    while not list(books.glob("*.json")):
        assert victim.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.005)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout)
    assert report["run"]["found_planned"] >= 1
    assert report["run"]["found_planned"] + report["run"]["planned_now"] == 4
    assert main([*command[3:-5], str(tmp_path / "plain"), "--runner=local", "--workers=1", *MINI]) == 0
    assert contents(tmp_path / "plain") == contents(tmp_path / "store")
