"""Each recipe of CONTRIBUTING.md works: it is followed literally in a copy of the package, and its check runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import polaris_jax

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(
    re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", TEXT.partition("\n## Recipes\n")[2], re.MULTILINE | re.DOTALL)
)
BLOCK = r"\n\n```python\n(?P<code>.*?)^```"
STEP = re.compile(
    r"^(?:New file `(?P<new>[^`]+)`:|In `(?P<old>[^`]+)`, below `(?P<anchor>[^`]+)`:)" + BLOCK, re.MULTILINE | re.DOTALL
)
CHECK = re.compile(r"^Check: [^`\n]+(?:`[^`]+`[^`\n]*)*" + BLOCK, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("title", RECIPES)
def test_the_recipe_works_as_it_is_written(title, tmp_path):
    copy = tmp_path / "source"
    shutil.copytree(ROOT / "polaris_jax", copy / "polaris_jax", ignore=shutil.ignore_patterns("__pycache__"))
    steps, checks = list(STEP.finditer(RECIPES[title])), list(CHECK.finditer(RECIPES[title]))
    assert steps
    assert len(checks) == 1
    assert RECIPES[title].count("```python") == len(steps) + 1, "a block that the test would not follow"
    for step in steps:
        if step["new"]:
            file = copy / step["new"]
            assert not file.exists()
            file.write_text(step["code"], encoding="utf-8")
        else:
            file = copy / step["old"]
            before = file.read_text(encoding="utf-8")
            anchor = step["anchor"] + "\n"
            assert before.count(anchor) == 1, f"{step['old']} has not one line {step['anchor']!r}"
            file.write_text(before.replace(anchor, anchor + step["code"]), encoding="utf-8")
    place = tmp_path / "place"
    place.mkdir()
    where = f"import polaris_jax; assert polaris_jax.__file__.startswith({str(copy)!r})\n"
    ran = subprocess.run(
        [sys.executable, "-c", where + checks[0]["code"]],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(copy), "XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_there_are_the_four_recipes():
    assert list(RECIPES) == ["A model family", "A benchmark", "A reward", "An attention backend"]


def test_the_look_ups_take_two_hops_from_the_readme():
    assert "(CONTRIBUTING.md)" in (ROOT / "README.md").read_text(encoding="utf-8")  # the first hop
    rows = re.findall(r"^\| .+\? \| \[.+\]\((\S+)\) \| `(\w+)` \|$", TEXT, re.MULTILINE)
    assert len(rows) == 7
    for file, name in rows:  # the second
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def|class) {name}\b|^{name}\b.* = ", source, re.MULTILINE), (file, name)


def test_the_version_stands_in_one_place():
    digits = re.escape(polaris_jax.__version__)
    holders = [path for path in ("setup.py", "pyproject.toml", "polaris_jax/__init__.py") if _names(path, digits)]
    assert holders == ["polaris_jax/__init__.py"]
    assert f"## {polaris_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def _names(path, digits):
    return re.search(rf"version.*{digits}", (ROOT / path).read_text(encoding="utf-8"))


def test_the_package_and_the_readme_name_every_room():
    rooms = {path.parent.name for path in (ROOT / "polaris_jax").glob("*/__init__.py")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [room for room in rooms if f"`{room}/`" not in readme]
    assert not [room for room in rooms if f"``{room}``" not in (polaris_jax.__doc__ or "")]
