"""Novels, work area and store in a bucket: the same store as on a disk (an emulated Cloud Storage server)."""

import logging
import subprocess
import sys
import urllib.request

import pytest
from corpus_library import OPTIONS

from polaris_jax.corpus import build_library, find_novels
from polaris_jax.data import TokenStore

server = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator to run this")

from gcp_storage_emulator.handlers import objects  # noqa: E402

# TensorStore reads the server's address once per process, so the client is a process of its own.
CLIENT = """
import sys
from polaris_jax.corpus import build_library, find_novels
from polaris_jax.data import TokenStore, load_tokenizer
from corpus_library import OPTIONS
tokenizer = load_tokenizer(sys.argv[1])
novels = find_novels(["gs://library/novels/*.txt"])
first = build_library(novels, "gs://library/store", tokenizer, OPTIONS, workers=1)
again = build_library(find_novels(["gs://library/novels"]), "gs://library/store", tokenizer, OPTIONS, workers=1)
assert (first.run["planned_now"], again.run["planned_now"]) == (2, 0), again.run
assert TokenStore.open("gs://library/store", tokenizer).verify() == []
print(first.report["content_hash"])
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


def test_a_library_in_a_bucket(bucket, library, tokenizer, tokenizer_folder, tmp_path, request):
    names = ["the-weir.txt", "low-water.txt"]
    for name in names:
        upload = urllib.request.Request(
            f"{bucket}/upload/storage/v1/b/library/o?uploadType=media&name=novels/{name}", method="POST",
            data=(library / name).read_bytes(), headers={"Content-Type": "text/plain"},
        )  # fmt: skip
        urllib.request.urlopen(upload).read()
    environment = {
        "TENSORSTORE_GCS_HTTP_URL": bucket, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{request.path.parent}:{request.config.rootpath}", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", CLIENT, str(tokenizer_folder)], env=environment, capture_output=True,
                         text=True, timeout=100)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    novels = find_novels([library / name for name in names])
    build_library(novels, tmp_path / "store", tokenizer, OPTIONS, workers=1)
    assert ran.stdout.split()[-1] == TokenStore.open(tmp_path / "store").content_hash
