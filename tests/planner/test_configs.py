"""Every config of the repository loads, and fits the slices that its first lines name, by the commands they give."""

import re
import shlex

import pytest

from polaris_jax.cli import main
from polaris_jax.planner import plan
from polaris_jax.training import check_config, default_config, load_config
from polaris_jax.training.config import flatten
from tests.planner.conftest import ROOT, needs_libtpu

CONFIGS = [file for file in sorted((ROOT / "configs").glob("*.py")) if file.stem != "base"]


def docstring(file):
    return re.match(r'r?"""(.*?)"""', file.read_text(encoding="utf-8"), re.S)[1]


def commands(file, verb):
    """Arguments of the ``polaris VERB`` lines of a config's docstring."""
    text = docstring(file).replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in re.findall(rf"^ +(polaris {verb} .*)$", text, re.M)]


def trains(file):
    """Whether the config is one of supervised training (other verbs have dial boards of their own)."""
    return set(flatten(load_config(file))) == set(flatten(default_config()))


def split(command):
    """``(slice, overrides)`` of a planning command."""
    topology = next(word.partition("=")[2] for word in command if word.startswith("--topology="))
    return topology, [word.removeprefix("--config.") for word in command if word.startswith("--config.")]


PLANS = [pytest.param(file, command, id=f"{file.stem}-{split(command)[0]}")
         for file in CONFIGS for command in commands(file, "plan")]  # fmt: skip


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_it_says_hardware_time_result_and_command(file):
    text = docstring(file)
    for word in ("Hardware:", "result", f"--config=configs/{file.name}"):
        assert word in text, word
    if trains(file):
        config = load_config(file)
        config.data.store = config.data.store or "given by the caller"
        check_config(config)
        assert "Time" in text
        assert commands(file, "plan")


@pytest.mark.parametrize(("file", "command"), PLANS)
def test_it_fits_where_it_says(file, command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert f"--config=configs/{file.name}" in command
    assert main(["plan", *command, "--estimate", "--json"]) == 0, capsys.readouterr()


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(("file", "command"), PLANS)
def test_the_compiler_agrees(file, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    topology, overrides = split(command)
    compiled = plan(load_config(file, overrides), topology)
    assert compiled.source == "compiler"
    assert compiled.fits


@needs_libtpu
def test_a_shipped_step_compiles(monkeypatch):
    """The smallest of them in every run of the tests; the others above."""
    monkeypatch.chdir(ROOT)
    overrides = ["model.path=configs/models/smollm2_135m", "data.window=2048", "data.batch_size=4"]
    compiled = plan(load_config(ROOT / "configs" / "smollm2_135m_books.py", overrides), "v6e-4")
    assert compiled.source == "compiler"
    assert compiled.fits


def test_the_two_slices_of_the_paper_recipe_run_the_same_numbers():
    first, second = (flatten(load_config(ROOT / "configs" / f"ministral3_14b_books_262k{name}.py"))
                     for name in ("", "_v5p"))  # fmt: skip
    assert {name for name in first if first[name] != second[name]} == {
        "mesh.context",
        "train.checkpoint_every",
    }
    assert (first["data.window"], first["data.batch_size"], first["optim.warmup"]) == (262_144, 24, 25)
