"""Every config of the repository loads, and fits the slices that its first lines name, by the commands they give."""

import re
import shlex

import pytest
from topology_programs import ROOT, needs_libtpu

from polaris_jax.cli import main
from polaris_jax.errors import InputError
from polaris_jax.planner import plan
from polaris_jax.training import default_config, load_config, train_config
from polaris_jax.training.config import flatten
from polaris_jax.training.config.files import PACKAGED, packaged_configs

CONFIGS = [PACKAGED / f"{name}.py" for name in packaged_configs()]


def docstring(file):
    return re.match(r'r?"""(.*?)"""', file.read_text(encoding="utf-8"), re.S)[1]


def commands(file, verb):
    """Arguments of the ``polaris VERB`` lines of a config's docstring."""
    text = docstring(file).replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in re.findall(rf"^ +(polaris {verb} .*)$", text, re.M)]


def trains(file):
    """Whether the config is one of supervised training (other verbs have configs of their own)."""
    return set(flatten(load_config(file))) == set(flatten(default_config()))


def split(command):
    """``(slice, overrides)`` of a planning command."""
    topology = next(word.partition("=")[2] for word in command if word.startswith("--topology="))
    return topology, [word.removeprefix("--config.") for word in command if word.startswith("--config.")]


PLANS = [
    pytest.param(file, command, id=f"{file.stem}-{split(command)[0]}")
    for file in CONFIGS
    for command in commands(file, "plan")
]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_it_says_hardware_time_result_and_command(file):
    text = docstring(file)
    for word in ("Hardware:", "result", f"--config={file.stem}"):
        assert word in text, word
    if trains(file):
        config = load_config(file)
        config.data.store = config.data.store or "given by the caller"
        train_config(config)
        assert "Time" in text
        assert commands(file, "plan")


@pytest.mark.parametrize(("file", "command"), PLANS)
def test_it_fits_where_it_says(file, command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert f"--config={file.stem}" in command
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
    """The smallest of them in every run of the tests; the others are slow tests above."""
    monkeypatch.chdir(ROOT)
    overrides = ["model.path=smollm2_135m", "data.window=2048", "data.batch_size=4"]
    compiled = plan(load_config("smollm2_135m_books", overrides), "v6e-4")
    assert compiled.source == "compiler"
    assert compiled.fits


def test_the_two_slices_of_the_paper_recipe_run_the_same_numbers():
    first, second = (flatten(load_config(f"ministral3_14b_books_262k{name}")) for name in ("", "_v5p"))
    assert {name for name in first if first[name] != second[name]} == {
        "mesh.context",
        "train.checkpoint_every",
    }
    assert (first["data.window"], first["data.batch_size"], first["optim.warmup"]) == (262_144, 24, 25)


@pytest.mark.parametrize("file", [*CONFIGS, PACKAGED / "base.py"], ids=lambda file: file.stem)
def test_the_file_in_the_folder_of_configs_is_the_packaged_one(file):
    """``configs/`` is what people read; the package has the same values."""
    assert flatten(load_config(ROOT / "configs" / file.name)) == flatten(load_config(file.stem))
    assert docstring(ROOT / "configs" / file.name).splitlines()[0] == docstring(file).splitlines()[0]


def test_the_folder_of_configs_holds_all_and_nothing_else():
    packaged = {f"{name}.py" for name in packaged_configs()} | {"base.py"}
    assert {file.name for file in (ROOT / "configs").iterdir() if file.name != "__pycache__"} == packaged


def test_a_name_that_is_none_names_the_nearest(capsys):
    with pytest.raises(InputError, match="did you mean --config=smollm2_135m_books"):
        load_config("smollm2_135_books")
    assert main(["configs"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in packaged_configs())
    assert main(["configs", "ministral3_14b_books_1m"]) == 0
    assert capsys.readouterr().out == (PACKAGED / "ministral3_14b_books_1m.py").read_text(encoding="utf-8")
    assert main(["configs", "ministral3_14b_books_1m", "--values"]) == 0
    assert "data.window = 1048576" in capsys.readouterr().out
