"""The checkout that the launch scripts send to machines: the one this package stands in, or one put together from it.

A wheel carries what a checkout has beside the package: ``setup.py`` copies it into ``polaris_jax/checkout``.
``find_checkout`` puts both together again in the user's cache, once per content.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from polaris_jax.errors import InputError

PACKAGE = Path(__file__).parent
SCRIPTS = {
    "tpu": "launch/tpu_pod.sh",
    "gke": "launch/gke/gke.sh",
    "local": "launch/local_multiprocess.sh",
}
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "checkout")


def find_checkout(cache: Path | None = None) -> Path:
    """The folder with ``launch/`` and ``polaris_jax/``.

    Args:
      cache: where an installed package is put together; default ``~/.cache/polaris_jax``.

    Raises:
      InputError: the package was installed without its launch scripts.
    """
    if (PACKAGE.parent / SCRIPTS["tpu"]).is_file():
        return PACKAGE.parent
    carried = PACKAGE / "checkout"
    if not (carried / SCRIPTS["tpu"]).is_file():
        raise InputError("polaris launch", str(PACKAGE), "the package came without launch scripts; install its wheel")
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "polaris_jax"
    folder = cache / f"checkout-{_digest(PACKAGE)}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch) / "made"
            shutil.copytree(carried, made)
            shutil.copytree(PACKAGE, made / "polaris_jax", ignore=_LEFT_OUT)
            (made / "configs").mkdir()
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
    return folder


def send_config(checkout: Path, config: str) -> str:
    """How the machines will know a config: by its name, or by its path in the checkout, into which a file is copied.

    A config in a checkout of Git stays where it is: what is committed is what runs.
    """
    file = Path(config)
    if (checkout / ".git").exists() or not file.is_file() or (checkout / config).is_file():
        return config
    content = file.read_bytes()
    name = f"configs/{file.stem}_{hashlib.sha256(content).hexdigest()[:8]}.py"
    if not (checkout / name).is_file():
        (checkout / name).write_bytes(content)
    return name


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        found.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:16]
