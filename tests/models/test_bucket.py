"""Checkpoints in a bucket: the same folder as on a disk, through an emulated Cloud Storage server."""

import logging
import subprocess
import sys

import pytest

from polaris_jax.models import save_pretrained

from .test_loading import made

server = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator to run this")

from gcp_storage_emulator.handlers import objects  # noqa: E402

# TensorStore reads the server's address once per process, so the client is a process of its own.
CLIENT = """
import sys
import jax, numpy as np
from polaris_jax.converting import convert
from polaris_jax.errors import InputError
from polaris_jax.models import from_pretrained, save_pretrained
from polaris_jax.models.checkpoint import read_json
from polaris_jax.models.folder import open_folder
local, work = sys.argv[1:]
model = from_pretrained(local)
save_pretrained(model, "gs://library/models/tiny", shard_bytes=20_000)
save_pretrained(model, "gs://library/models/tiny", shard_bytes=40_000)
folder = open_folder("gs://library/models/tiny")
shards = sorted(set(read_json(folder, "model.safetensors.index.json")["weight_map"].values()))
assert len(shards) > 1 and shards[0].endswith(f"-of-{len(shards):05d}.safetensors"), shards
assert not any(folder.exists(f"model-00001-of-{n:05d}.safetensors") for n in range(30) if n != len(shards))
again = from_pretrained("gs://library/models/tiny")
jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
convert("gs://library/models/tiny", work + "/orbax")
convert(work + "/orbax", "gs://library/models/again")
jax.tree.map(np.testing.assert_array_equal, from_pretrained("gs://library/models/again").params, model.params)
for address, says in (("gs://library/nothing", "no such file"), ("gs://library/models/broken", "truncated")):
    if says == "truncated":
        whole = open_folder("gs://library/models/again")
        broken = open_folder(address)
        broken.write("config.json", [whole.read("config.json")])
        broken.write("model.safetensors", [whole.read("model.safetensors")[:-9]])
    try:
        from_pretrained(address)
        raise SystemExit("loaded " + address)
    except InputError as error:
        assert says in str(error), error
print("done")
"""


@pytest.fixture
def bucket(monkeypatch):
    """A Cloud Storage server with the bucket ``library``."""
    plain = objects.download

    def download(request, response, storage, *args, **kwargs):
        """Adds the generation header that Cloud Storage sends with every object and the emulator leaves out."""
        plain(request, response, storage, *args, **kwargs)
        if response.status < 300:
            found = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
            response["x-goog-generation"] = found["generation"]

    monkeypatch.setattr(objects, "download", download)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    running = server.create_server("localhost", 0, in_memory=True, default_bucket="library")
    running.start()
    yield f"http://localhost:{running._api._httpd.server_address[1]}"
    running.stop()


def test_a_bucket_holds_the_same_checkpoint_as_a_disk(bucket, tmp_path, request):
    save_pretrained(made("qwen3"), tmp_path / "model")
    environment = {
        "TENSORSTORE_GCS_HTTP_URL": bucket, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(request.config.rootpath), "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path / "model"), str(tmp_path)], env=environment, capture_output=True,
        text=True, timeout=180,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split()[-1] == "done"
