"""What the command line checks before a verb begins: paths, numbers, homes, extras and configs of another verb."""

import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import refused

import polaris_jax
from polaris_jax.cli import expand_home, main
from polaris_jax.errors import InputError
from polaris_jax.extras import EXTRAS, missing_extra
from polaris_jax.rl import default_rl_config, rl_config
from polaris_jax.training import default_config, load_config, train_config

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("serve --checkpoint=x --port=99999", "--port: '99999'"),
        ("serve --checkpoint=x --port=-1", "--port"),
        ("serve --checkpoint=x --slots=0", "--slots"),
        ("write --checkpoint=x --prompt=p --out=new --window=0", "--window"),
        ("write --checkpoint=x --prompt=p --out=new --top-p=1.5", "--top-p"),
        ("write --checkpoint=x --prompt=p --out=new --temperature=nan", "--temperature"),
        ("demo --steps=-3 --workdir=new", "--steps: '-3': at least 1"),
        ("demo --workdir=new --devices=zero", "--devices: 'zero': give a whole number"),
        ("build --books=b --tokenizer=t --out=new --workers=-1 --runner=local", "--workers: '-1'"),
        ("watch run --every=0", "--every"),
        ("train --config=c.py --workdir=new --config.train.steps 20", "write --config.train.steps=20"),
        ("train --workdir=new", "--config"),
    ],
)
def test_a_wrong_number_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *arguments.split())
    assert list(tmp_path.iterdir()) == []


def test_home_is_expanded_in_flags_and_config_fields_alike(monkeypatch):
    monkeypatch.setenv("HOME", "/home/reader")
    given = ["write", "~/x", "--out=~/book", "--config.data.store=~/store", "--generations", "mine=~/a.jsonl", "~"]
    assert expand_home(given) == [
        "write",
        "/home/reader/x",
        "--out=/home/reader/book",
        "--config.data.store=/home/reader/store",
        "--generations",
        "mine=/home/reader/a.jsonl",
        "/home/reader",
    ]
    texts = ["--prompt", "~/ is home", "--prompt=~/x", "a ~/b", "--split=90/5/5"]
    assert expand_home(texts) == texts


def test_home_in_a_config_file_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/reader")
    file = tmp_path / "mine.py"
    file.write_text(
        "from polaris_jax.training import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.model.path, config.train.wandb = '~/model', '~/no path'\n"
        "    config.data.mix = (('~/other', 0.5), ('gs://b/~x', 1.0))\n"
        "    return config\n"
    )
    config = load_config(file, ["data.store=~/store"])
    assert (config.model.path, config.data.store) == ("/home/reader/model", "/home/reader/store")
    assert tuple(map(tuple, config.data.mix)) == (("/home/reader/other", 0.5), ("gs://b/~x", 1.0))
    assert config.train.wandb == "~/no path"


def test_a_config_of_another_verb_names_it(tmp_path, capsys):
    for verb, config in (("train", "qwen3_5_9b_polaris"), ("rl", "smollm2_135m_demo")):
        file = ROOT / "configs" / f"{config}.py"
        line = refused(capsys, verb, f"--config={file}", f"--workdir={tmp_path / 'run'}", "--config.optim.b1=0.5")
        assert f"is a config of polaris {'rl' if verb == 'train' else 'train'}" in line
    assert list(tmp_path.iterdir()) == []


def test_the_doors_refuse_a_config_of_another_verb_too():
    for door, config, theirs in ((train_config, default_rl_config(), "rl"), (rl_config, default_config(), "train")):
        with pytest.raises(InputError, match=f"is a config of polaris {theirs}; run polaris {theirs} with it"):
            door(config)


def test_every_library_of_an_extra_is_in_the_table():
    """Each third-party import of the package is required by it, or named beside the extra that brings it."""
    asked = runpy.run_path(str(ROOT / "launch" / "lock.py"))["read_setup"]()
    names = {"orbax_checkpoint": "orbax", "etils[epath]": "etils", "scikit_learn": "sklearn"}
    names |= {"pypandoc_binary": "pypandoc"}

    def modules(requirements):
        wanted = (text.split(">=")[0].split("==")[0].strip().replace("-", "_") for text in requirements)
        return {names.get(name, name.split("[")[0]) for name in wanted}

    required = modules(asked["install_requires"]) | {"ml_dtypes", "anyio"}  # jax and starlette bring these two
    for extra in set(EXTRAS.values()):
        assert extra in asked["extras_require"]
    for path in Path(polaris_jax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                found = [node.module]
            for top in {name.split(".")[0] for name in found} - set(sys.stdlib_module_names):
                assert top in {"polaris_jax", "google"} | required | set(EXTRAS), f"{path}: {top}"
    for module, extra in EXTRAS.items():
        brought = {name.replace("google_", "google.") for name in modules(asked["extras_require"][extra])}
        assert module in brought or module == "libtpu", module


def test_a_missing_library_names_its_extra(tmp_path):
    """GGUF is read by a library that is not required; without it the answer says what to install."""
    (tmp_path / "gguf.py").write_text("raise ModuleNotFoundError(\"No module named 'gguf'\", name='gguf')\n")
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "polaris_jax.cli", "convert", str(model), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip() == "polaris convert: gguf is not installed; run: pip install 'polaris-jax[demo]'"
    assert missing_extra(ModuleNotFoundError("x", name="polaris_jax.nothing")) is None


def test_one_trajectory_of_a_store(tmp_path, capsys, shared):
    from polaris_jax.data import TokenStore, encode_transcript, train_sentencepiece

    text = (shared / "specs" / "trajectory_example.txt").read_text(encoding="utf-8")
    tokenizer = train_sentencepiece([text], 400, tmp_path / "tokenizer")
    store = tmp_path / "store"
    with TokenStore.create(store, tokenizer) as writer:
        writer.append(encode_transcript(text, tokenizer), {"title": "The Tide Ledger"})
        writer.commit()
    page = tmp_path / "page.html"
    flags = ["--row=0", f"--tokenizer={tmp_path / 'tokenizer'}", f"--html={page}", "--json"]
    assert main(["inspect", str(store), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert "The Tide Ledger" in page.read_text(encoding="utf-8")
    assert "--row" in refused(capsys, "inspect", store, f"--html={page}")
    assert "1 trajectories" in refused(capsys, "inspect", store, "--row=1", f"--tokenizer={tmp_path / 'tokenizer'}")
    assert "tokenizer" in refused(capsys, "inspect", store, "--row=0")
