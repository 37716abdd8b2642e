"""How a verb starts JAX on the machine it finds."""

import os
from pathlib import Path

from polaris_jax.errors import InputError


def host_devices(count: int | None) -> None:
    """Splits the CPU into ``count`` devices, unless the environment already says how JAX is to run."""
    if count is None or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if count < 1:
        raise InputError("--devices", count, "must be at least 1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_num_cpu_devices", count)


def compilation_cache() -> None:
    """Compiled programs are kept between runs; ``JAX_COMPILATION_CACHE_DIR`` chooses where."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "polaris_jax" / "xla"))
