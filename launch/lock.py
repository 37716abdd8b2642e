"""Writes the lock file of this Python: the exact versions, in the present environment, of all that a pod needs.

    python launch/lock.py            write the file
    python launch/lock.py --check    say what in the files no longer satisfies setup.py (exit code 1), write nothing

``launch/requirements.lock`` is that of the pods' Python (3.11: the image and the TPU VMs), ``requirements-3.13.lock``
and so on are those of the others. ``launch/demo.sh`` and ``launch/test.sh`` keep to the one of their Python.

It follows the requirements of ``polaris_jax[tpu,llm,beam]`` through the installed packages' own metadata, for Linux on
x86-64. Run it in an environment in which the tests pass; the file is what was tested.
"""

import argparse
import runpy
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PODS = "3.11"
LOCK = ROOT / "launch" / "requirements.lock"
EXTRAS = ("tpu", "llm", "beam")


def read_setup() -> dict:
    """The arguments of ``setup.py`` to setuptools, which need not be installed."""
    asked: dict = {}
    stand_ins = {
        "setuptools": SimpleNamespace(setup=asked.update, find_packages=lambda **names: []),
        "setuptools.command": SimpleNamespace(),
        "setuptools.command.build_py": SimpleNamespace(build_py=object),
    }
    with mock.patch.dict(sys.modules, stand_ins):
        runpy.run_path(str(ROOT / "setup.py"))
    return asked


def declared() -> list[Requirement]:
    """The requirements of ``setup.py``, extras of a pod included."""
    asked = read_setup()
    texts = [*asked["install_requires"], *(text for extra in EXTRAS for text in asked["extras_require"][extra])]
    return [Requirement(text) for text in texts]


def closure(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Name → installed version of the requirements and of everything they require.

    Raises:
      SystemExit: one of them is not installed.
    """
    waiting, seen, versions = list(requirements), set(), {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is required and not installed; install polaris_jax[{','.join(EXTRAS)}] first")
        versions[name] = found.version
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            waiting += [inner for inner in map(Requirement, found.requires or ()) if _applies(inner, extra)]
    return dict(sorted(versions.items()))


def _applies(requirement: Requirement, extra: str) -> bool:
    """True for what an extra adds, or, with ``extra=""``, for what is needed without any."""
    pod = default_environment() | {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    marker = requirement.marker
    without = marker is None or marker.evaluate(pod | {"extra": ""})
    return without if not extra else not without and marker.evaluate(pod | {"extra": extra})


def lock_file(python: str) -> Path:
    """The file of a Python, such as ``3.13``."""
    return LOCK if python == PODS else LOCK.with_name(f"requirements-{python}.lock")


def lock_files() -> list[Path]:
    """The lock files that exist, the pods' first."""
    return [LOCK, *sorted(LOCK.parent.glob("requirements-*.lock"))]


def read_lock(file: Path = LOCK) -> dict[str, str]:
    """Name → version in the file."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def complaints(locked: dict[str, str]) -> list[str]:
    """Requirements of ``setup.py`` that the locked versions do not meet."""
    lines = []
    for requirement in declared():
        version = locked.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            lines.append(f"{requirement}: locked is {version}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        found = [f"{file.name}: {line}" for file in lock_files() for line in complaints(read_lock(file))]
        print("\n".join(found), file=sys.stderr)
        return bool(found)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lock = lock_file(python)
    lines = [f"# Written by launch/lock.py for Python {python}; polaris_jax[{','.join(EXTRAS)}] and all it requires.\n"]
    lines += [f"{name}=={version}\n" for name, version in closure(declared()).items()]
    temporary = lock.with_suffix(".tmp")
    temporary.write_text("".join(lines), encoding="utf-8")
    temporary.replace(lock)
    print(f"{lock}: {len(lines) - 1} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
