"""Every config field declares its meaning and its bounds, and no text names a field that does not exist."""

import re
from pathlib import Path

import pytest

from polaris_jax.llm.spec import ClientSpec, ModelOrOfflineSpec
from polaris_jax.options.fields import fields_of, former_names, sections_of
from polaris_jax.options.values import build, flatten
from polaris_jax.rewards import JudgeSpec, RewardSpec
from polaris_jax.rl import RlConfig
from polaris_jax.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
CONFIGS = (TrainConfig, RlConfig)
DECLARED = (*CONFIGS, ClientSpec, JudgeSpec, ModelOrOfflineSpec, RewardSpec)
KNOWN = {name for cls in CONFIGS for name in (*fields_of(cls), *sections_of(cls), *former_names(cls))}
SECTIONS = {name.partition(".")[0] for cls in CONFIGS for name in sections_of(cls)}
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "polaris_jax" / "configs").glob("*.py")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "launch").rglob("*.*")),
    *sorted((ROOT / "polaris_jax").rglob("*.py")),
]


@pytest.mark.parametrize("cls", DECLARED, ids=lambda cls: cls.__name__)
def test_every_field_says_what_it_means_and_every_number_its_bounds(cls):
    silent, unbounded = [], []
    for name, field in fields_of(cls).items():
        doc = field.declared.doc
        if not doc.strip() or "\n" in doc or doc != doc.strip():
            silent.append(name)
        if field.kind in (int, float) and field.declared.bounds is None:
            unbounded.append(name)
    assert (silent, unbounded) == ([], [])


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_the_defaults_are_possible_values(cls):
    assert build(cls, flatten(cls())) == cls()


def mentioned(text):
    """Names of config fields in a text: ``config.a.b``, ``--config.a.b=c``. A function call is not one."""
    found = re.findall(r"(?<![\w.])(?:--)?config\.((?:[a-z_0-9]+\.)*[a-z_0-9]+)\b(?!\()", text)
    return {name for name in found if name.partition(".")[0] in SECTIONS}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_names_a_field_that_does_not_exist(path):
    assert sorted(mentioned(path.read_text(encoding="utf-8")) - KNOWN) == []


def test_a_field_that_does_not_exist_would_be_found():
    found = mentioned("see --config.optim.learning_rat=1, `config.data.window` and config.mesh.sizes()")
    assert found - {"mesh"} == {"optim.learning_rat", "data.window"}
    assert found - KNOWN == {"optim.learning_rat"}


def test_only_the_door_knows_how_a_person_writes_a_config():
    package = ROOT / "polaris_jax"
    inside = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "ml_collections" in path.read_text(encoding="utf-8")
    ]
    assert {Path(name).parent for name in inside} == {Path("training/config")}
