"""``polaris launch``: the scripts from a checkout, and from an installed package that brings them along."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POD = ("tpu", "run", "--name=run", "--type=v6e-8", "--zone=us-east5-a", "--workdir=gs://bucket/run", "--dry-run")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as a wheel of this checkout installs it."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for name in ("polaris_jax", "launch", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    build = "import sys; sys.argv[1:] = ['-q', 'bdist_wheel', '-d', sys.argv[1]]; exec(open('setup.py').read())"
    subprocess.run([sys.executable, "-c", f"__file__ = 'setup.py'\n{build}", str(place)], cwd=source, check=True)
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def launch(package, place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "polaris_jax.cli", "launch", *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(package), "XDG_CACHE_HOME": str(place / "cache")},
        capture_output=True,
        text=True,
    )


def test_the_verb_is_the_script(tmp_path):
    words = (*POD, "--config=smollm2_135m_demo", "--", "--config.train.steps=20")
    ran = launch(ROOT, tmp_path, *words)
    direct = subprocess.run(["bash", "launch/tpu_pod.sh", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, direct.stdout)
    assert "polaris train --config=smollm2_135m_demo --workdir=gs://bucket/run --config.train.steps=20" in ran.stdout
    refused = launch(ROOT, tmp_path, *POD, "--config=no_such")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert launch(ROOT, tmp_path, "moon").returncode == 2


def test_an_installed_package_sends_itself_and_a_config_of_ones_own(installed, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("from polaris_jax.configs.smollm2_135m_demo import get_config\n")
    ran = launch(installed, tmp_path, *POD, "--config=mine.py")
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"tar --create --gzip .*--directory=\.", ran.stdout)
    sent = re.search(r"--config=(configs/mine_[0-9a-f]{8}\.py)", ran.stdout)[1]
    [checkout] = (tmp_path / "cache" / "polaris_jax").iterdir()
    assert (checkout / sent).read_text() == own.read_text()
    for name in ("setup.py", "launch/requirements.lock", "launch/tpu_worker.sh", "polaris_jax/cli.py"):
        assert (checkout / name).read_bytes() == (ROOT / name).read_bytes(), name
    # What is sent can be installed, and equals its source.
    assert "tpu_pod.sh" not in str(list((checkout / "polaris_jax").rglob("*")))
    rendered = launch(
        installed, tmp_path, "gke", "render", "--name=a", "--type=v5p-8", "--image=r/i:1", "--config=smollm2_135m_demo",
        "--workdir=gs://b/r",
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    assert "kind: JobSet" in rendered.stdout
    assert len(list((tmp_path / "cache" / "polaris_jax").iterdir())) == 1


def test_a_local_run_passes_on_the_exit_code(tmp_path):
    ran = launch(ROOT, tmp_path, "local", "--processes=1", "--devices=1", "--", sys.executable, "-c", "exit(3)")
    assert ran.returncode == 3
