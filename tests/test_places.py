"""Paths that cannot be written, in every verb: one line, and nothing is left behind.

A path that is wrong from the start ends with exit code 2, before anything is read. A full disk ends with exit code 1,
because no flag could change it.
"""

import argparse
import contextlib
import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import exit_code
from material import make_material
from small_models import save_small_llama

from polaris_jax.cli import _parser, main
from polaris_jax.commands import VERBS
from polaris_jax.commands.flag_types import file_to_write, folder_to_write
from polaris_jax.data import train_sentencepiece

ROOT = Path(__file__).parents[1]
NOVEL = next((ROOT / "polaris_jax" / "library" / "books").glob("*.txt"))
# The names of flags and positional arguments that take a path to write.
NAMES = {"out", "html", "samples", "workdir", "work", "keep", "transcripts", "batch", "batch_out", "dst"}
OTHERS = {("watch", "workdir"), ("build", "samples"), ("score", "samples")}  # a run that is read, numbers


def flags_that_write():
    """``(words of the verb, the flag or None for a position, its type)`` of every place that a verb writes."""

    def verbs_of(parser):
        return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})

    def walk(parser, words):
        for action in parser._actions:
            if action.dest in NAMES and (words[0], action.dest) not in OTHERS:
                yield words, action.option_strings[0] if action.option_strings else None, action.type
        for name, inner in verbs_of(parser).items():
            yield from walk(inner, [*words, name])

    for verb in VERBS:
        yield from walk(verbs_of(_parser(verb))[verb], [verb])


WRITES = list(flags_that_write())


def refused(capsys, arguments, code):
    """Runs a verb that must end with ``code``; returns its one line."""
    ended = exit_code(arguments)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.strip() and not line.startswith("warning: ")]
    assert ended == code, captured.err
    assert code == 1 or captured.out == ""
    assert len(lines) == 1, captured.err
    return lines[0]


def test_every_place_is_looked_at_before_anything_else():
    """A new flag with one of these names has one of the two types that refuse a path which cannot be written."""
    assert {words[0] for words, _, _ in WRITES} >= {"demo", "segment", "build", "inspect", "train", "rl", "watch"}
    assert {words[0] for words, _, _ in WRITES} >= {"plan", "write", "evaluate", "convert", "pairs", "score"}
    for words, flag, kind in WRITES:
        assert kind in (file_to_write, folder_to_write), (words, flag)


@pytest.mark.parametrize(
    ("words", "flag", "kind"), WRITES, ids=lambda value: getattr(value, "__name__", str(value).strip("[]"))
)
def test_a_wrong_place_is_one_line(tmp_path, monkeypatch, capsys, words, flag, kind):
    """A file where a folder is meant, the reverse, a path through a file, a device."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    wrong = {"taken": "is a file", "taken/inside": "is a file", "pipe": "is a file"}
    if kind is file_to_write:
        wrong = {"folder": "is a folder", "taken/inside": "is a file", "pipe": "is a device"}
    for place, says in wrong.items():
        given = ["source", place] if flag is None else [f"{flag}={place}"]
        line = refused(capsys, [*words, *given], 2)
        assert says in line
        assert place in line
    assert sorted(os.listdir()) == ["folder", "pipe", "taken"]
    assert (tmp_path / "taken").read_text() == "mine"


@contextlib.contextmanager
def no_file_above(size):
    """Every write of this process that makes a file larger than ``size`` bytes fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def material(tmp_path_factory, shared):
    """What the verbs read: a novel, a transcript, a run's numbers, stories, and a model."""
    folder = tmp_path_factory.mktemp("material")
    shutil.copy(NOVEL, folder / "novel.txt")
    shutil.copy(shared / "specs" / "trajectory_example.txt", folder / "transcript.txt")
    tokenizer = train_sentencepiece(NOVEL.read_text(encoding="utf-8").splitlines(), 1000, folder / "model")
    save_small_llama(folder / "model", tokenizer.vocab_size, 2048)
    (folder / "run").mkdir()
    row = {"step": 1, "loss": 2.0, "loss_prose": 2.0, "time": 0.0}
    (folder / "run" / "metrics.jsonl").write_text("".join(json.dumps(row | {"step": n}) + "\n" for n in range(1, 40)))
    story = {"id": "a", "prompt": "p", "story": "The man went down to the sea. " * 200, "target_words": 1400}
    (folder / "stories.jsonl").write_text("".join(json.dumps(story | {"id": f"{n}"}) + "\n" for n in range(9)))
    return folder


FULL = {
    "segment": "segment {m}/novel.txt --html={out}/a.html",
    "inspect": "inspect {m}/transcript.txt --tokenizer={m}/model --html={out}/a.html",
    "watch": "watch {m}/run --html={out}/a.html",
    "convert": "convert {m}/model {out}/model",
    "convert to gguf": "convert {m}/model {out}/model --to=gguf",
    "build": "build --books={m}/novel.txt --tokenizer={m}/model --profile=mini --window=4096 --out={out}/store",
    "pairs": "pairs --books={m}/novel.txt --out={out}/pairs --train-words=100-4000 --heldout-words=100-4000",
    "score": "score {m}/stories.jsonl --out={out}/scores.jsonl",
    "evaluate": "evaluate length --generations=a={m}/stories.jsonl --out={out}/length",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "build" else ()) for n in FULL])
def test_a_full_disk_is_one_line(tmp_path, capsys, material, name):
    if "gguf" in name:
        pytest.importorskip("gguf")
    arguments = FULL[name].format(m=material, out=tmp_path).split()
    with no_file_above(500):
        line = refused(capsys, arguments, 1)
    assert os.strerror(errno.EFBIG) in line
    assert "make room and run the same command again" in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_plan_needs_no_room_for_its_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path / "plans"))
    with no_file_above(0):
        assert main(["plan", "--config=ministral3_14b_books_262k", "--topology=v6e-256", "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


LONG = {
    "train": "train --config=smollm2_135m_demo --workdir={out}/run --config.model.path={m}/made/model --devices=4 "
    "--config.data.store={m}/made/store --config.data.window=2048 --config.train.steps=3 --config.optim.warmup=1",
    "demo": "demo --tiny --steps=2 --workdir={out}/demo",
    "write": "write --checkpoint={m}/model --prompt=x --out={out}/book --window=1500",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_run_on_a_full_disk_is_one_line(tmp_path, material, name):
    """Each verb has its own process, because it sets up JAX. A small file fits, a model or a checkpoint does not."""
    if name == "train":
        make_material(material / "made", 2048)
    arguments = LONG[name].format(m=material, out=tmp_path).split()
    program = (
        "import resource, sys; from polaris_jax.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY)); sys.exit(main(sys.argv[1:]))"
    )
    done = _child([sys.executable, "-c", program, *arguments])
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"polaris {name}: " in last
    assert os.strerror(errno.EFBIG) in last


@pytest.mark.slow
def test_a_read_only_and_a_full_file_system(tmp_path, material):
    """Real ones, mounted where only the child sees them: every flag that writes, and three verbs that fill them."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "full").mkdir()
    mount = (
        "mount -t tmpfs -o ro none locked && mount -t tmpfs -o size=16k none full && "
        '"$0" -c "from test_places import *; see_mounted(sys.argv[1])" "$1"'
    )
    done = _child(["unshare", "-rm", "sh", "-c", mount, sys.executable, str(material)], cwd=tmp_path)
    if "unshare: " in done.stderr or "mount: " in done.stderr:
        pytest.skip(f"needs a mount of its own: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{len(WRITES)} places, 3 verbs"


def see_mounted(material):
    """What the child process does in its folder, which holds ``locked`` and ``full``."""
    for words, flag, _ in WRITES:
        _ended(
            [*words, *(["source", "locked/new"] if flag is None else [f"{flag}=locked/new"])], 2, "cannot be written"
        )
    for name in ("segment", "inspect", "convert"):
        _ended(FULL[name].format(m=material, out="full").split(), 1, os.strerror(errno.ENOSPC))
        assert not [path for path in Path("full").rglob("*") if path.is_file()]
    print(f"{len(WRITES)} places, 3 verbs")


def _ended(arguments, code, says):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        ended = exit_code(arguments)
    assert ended == code, (arguments, ended, said.getvalue())
    assert says in said.getvalue().strip().splitlines()[-1], said.getvalue()


def _child(command, **settings):
    home = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": "",
    }
    return subprocess.run(command, env=home, capture_output=True, text=True, timeout=600, **settings)
