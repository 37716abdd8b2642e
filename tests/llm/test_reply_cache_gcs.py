"""The same cache in a bucket: TensorStore's own Cloud Storage driver against an emulated server."""

import json
import logging
import subprocess
import sys

import pytest
from llm_servers import completion

server = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator to run this")

from gcp_storage_emulator.handlers import objects  # noqa: E402

# TensorStore reads the storage server's address once per process, so the client is a process of its own.
CLIENT = """
import json, sys
from polaris_jax.llm import ClientSpec, Request, open_client
spec = ClientSpec("openai", "m", base_url=sys.argv[1], cache="gs://library/replies")
with open_client(spec) as client:
    replies = client.ask_all([Request((("user", f"Mood {n}"),)) for n in range(4)])
print(json.dumps({"calls": client.ledger.calls, "cached": client.ledger.cached, "texts": [r.text for r in replies]}))
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


def test_a_rerun_on_another_machine_makes_no_calls(bucket, stub, request):
    stub.always = {"Mood": completion("Calm.")}
    environment = {
        "TENSORSTORE_GCS_HTTP_URL": bucket, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any", "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(request.config.rootpath),
    }  # fmt: skip

    def run():
        command = [sys.executable, "-c", CLIENT, stub.base_url]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return json.loads(ran.stdout)

    assert run() == {"calls": 4, "cached": 0, "texts": ["Calm."] * 4}
    assert run() == {"calls": 0, "cached": 4, "texts": ["Calm."] * 4}
    assert stub.calls == 4
