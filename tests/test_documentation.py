"""What the README, the guides and the configs tell a person to type exists; the site builds without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from polaris_jax.cli import _parser, expand_home
from polaris_jax.commands import VERBS
from polaris_jax.training.config import apply_overrides, load_config

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_lines(text):
    """The commands of a Markdown text's bash blocks, each on one line, comments removed."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def documented():
    for document in DOCUMENTS:
        for words in command_lines(document.read_text(encoding="utf-8")):
            yield pytest.param(words, id=f"{document.stem}: {' '.join(words)[:60]}")
    for config in sorted((ROOT / "polaris_jax" / "configs").glob("*.py")):
        text = config.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^    (polaris .*)$", text, re.M):
            yield pytest.param(shlex.split(line), id=f"{config.stem}: {line[:60]}")


@pytest.mark.parametrize("words", list(documented()))
def test_every_command_that_is_written_down_is_understood(words, tmp_path, monkeypatch):
    program, *arguments = words
    if program == "bash":
        program, *arguments = arguments
    if program.startswith("launch/"):
        assert (ROOT / program).is_file()
        if program in ("launch/tpu_pod.sh", "launch/gke/gke.sh"):
            where = arguments.index("--") if "--" in arguments else len(arguments)
            arguments.insert(where, "--dry-run")
            ran = subprocess.run(["bash", program, *arguments], cwd=ROOT, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stderr
        return
    if Path(program).name != "polaris":
        assert program in ("pip", "gcloud", "env", "mkdocs"), words
        return
    monkeypatch.chdir(tmp_path)  # a file of the checkout must not be in the way of a name that is only an example
    verb = arguments[0]
    assert verb in VERBS
    parsed, rest = _parser(verb).parse_known_args(expand_home(arguments))
    overrides = [word.removeprefix("--config.") for word in rest if word.startswith("--config.")]
    assert not [word for word in rest if not word.startswith("--config.")], rest
    assert not overrides or parsed.takes_config
    if getattr(parsed, "config", None):
        monkeypatch.chdir(ROOT)
        apply_overrides(load_config(parsed.config), overrides)


def test_there_is_something_to_check():
    assert len(list(documented())) > 40


def test_the_site_builds_without_a_warning_and_holds_the_reference(tmp_path):
    pytest.importorskip("material", reason="pip install mkdocs-material to build the site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "WARNING" not in ran.stderr
    commands = (tmp_path / "site" / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    fields = (tmp_path / "site" / "reference" / "config" / "index.html").read_text(encoding="utf-8")
    assert all(f"polaris {verb}" in commands for verb in VERBS)
    assert "optim.learning_rate" in fields
    assert "https://fonts" not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
