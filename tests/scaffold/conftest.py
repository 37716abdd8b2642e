"""The bundled novel, read once; and a llama.cpp server with SmolLM2 135M in a process of its own."""

import subprocess
import sys
from importlib.resources import files

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel

# Two slots of 4,096 tokens each; one thread, since threads of llama.cpp wait for each other busily.
_SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {"smollm2"}
params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 0
params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 8192, 2, 1, 1
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def hallin():
    return read_novel(str(files("polaris_jax.library") / "books" / "the_hallin_inventory.txt"))


@pytest.fixture(scope="session")
def smollm2():
    """Base URL of an OpenAI-compatible server with a small real model."""
    pytest.importorskip("xllamacpp", reason="pip install xllamacpp to ask a real model")
    from polaris_jax.models.gguf import packaged_gguf

    try:
        gguf = packaged_gguf()
    except InputError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-c", _SERVER, str(gguf)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        address = next((line.split()[1] for line in process.stdout if line.startswith("listening")), None)
        assert address, "the model server did not start"
        yield f"{address}/v1"
        process.kill()
