"""Every test runs on eight host devices in float32; compiled programs are cached across runs."""

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR")
                  or str(Path(tempfile.gettempdir()) / "polaris_jax_test_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of given data (``specs/``, ``parity/``, ``corpus/``), from ``POLARIS_SHARED``."""
    folder = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set POLARIS_SHARED")
    return folder
