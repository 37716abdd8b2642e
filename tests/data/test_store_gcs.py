"""The same store in a bucket: TensorStore's own Cloud Storage driver against an emulated server."""

import logging
import subprocess
import sys

import numpy as np
import pytest

server = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator to run this")

from gcp_storage_emulator.handlers import objects  # noqa: E402

# TensorStore reads the server's address once per process, so the client is a process of its own.
CLIENT = """
import sys
from polaris_jax.data import TokenStore, load_tokenizer
from data_toys import LENGTHS, make_trajectory
tokenizer = load_tokenizer(sys.argv[1])
writer = TokenStore.create("gs://library/stores/toy", tokenizer)
for seed, length in enumerate(LENGTHS):
    split = "train" if seed % 3 else "validation"
    writer.append(make_trajectory(length, seed), {"title": f"Book {seed}", "split": split})
store = writer.commit()
again = TokenStore.open("gs://library/stores/toy", tokenizer)
assert again.verify() == []
assert again.read(2, 3, 9).tokens.tolist() == make_trajectory(LENGTHS[2], 2).tokens[3:9].tolist()
rebuilt = TokenStore.create("gs://library/stores/toy", tokenizer)
rebuilt.append(make_trajectory(5, 0), {})
assert len(TokenStore.open("gs://library/stores/toy")) == len(LENGTHS)
rebuilt.commit()
assert len(TokenStore.open("gs://library/stores/toy")) == 1
assert again.verify() == ["the store at gs://library/stores/toy has been rebuilt since it was opened"]
third = TokenStore.create("gs://library/stores/toy", tokenizer)
third.append(make_trajectory(6, 0), {})
assert third.commit().verify() == []
print(again.content_hash)
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


def test_a_bucket_holds_the_same_store_as_a_disk(bucket, store, tokenizer, tmp_path, request):
    tokenizer.save(tmp_path)
    environment = {
        "TENSORSTORE_GCS_HTTP_URL": bucket, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{request.path.parent}:{request.config.rootpath}", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split()[-1] == store.content_hash
    assert np.all(store.lengths > 0)
