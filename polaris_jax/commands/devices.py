"""Sets up JAX before a verb first uses it: host devices and the compilation cache."""

import os
from pathlib import Path

from polaris_jax.errors import InputError


def host_devices(count: int | None) -> None:
    """Splits the CPU into ``count`` devices, unless ``XLA_FLAGS`` already does.

    Raises:
      InputError: ``count`` is less than one.
    """
    if count is None or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if count < 1:
        raise InputError("--devices", count, "must be at least 1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_num_cpu_devices", count)


def compilation_cache() -> None:
    """Keeps compiled programs between runs, in ``JAX_COMPILATION_CACHE_DIR`` or the user's cache folder."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "polaris_jax" / "xla"))
