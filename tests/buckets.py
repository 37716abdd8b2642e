"""A Cloud Storage server for tests and benchmarks, and a proxy in front of it that makes a share of the calls fail."""

import contextlib
import http.client
import logging
import random
import threading
import time
from collections import Counter

from servers import Handler, Server

BUCKET = "library"
FAULTS = ("503", "429", "cut", "slow", "lost", "hang")


@contextlib.contextmanager
def run_bucket(folder=None):
    """Emulates Cloud Storage with the bucket ``library``, in memory or kept in ``folder``; yields its address."""
    from gcp_storage_emulator import server
    from gcp_storage_emulator.handlers import objects

    plain, plain_list, plain_data = objects.download, objects.ls, server._read_data

    def download(request, response, storage, *args, **kwargs):
        """Adds the generation header that Cloud Storage sends with every object and the emulator leaves out."""
        plain(request, response, storage, *args, **kwargs)
        if response.status < 300:
            found = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
            response["x-goog-generation"] = found["generation"]

    def ls(request, response, storage, *args, **kwargs):
        """Filters by the requested range of names, which the emulator ignores."""
        first, last = (request.query.get(name, [None])[0] for name in ("startOffset", "endOffset"))
        answer = response.json

        def json(content):
            items = [one for one in content["items"] if one["name"] >= (first or "")]
            answer(content | {"items": [one for one in items if last is None or one["name"] < last]})

        response.json = json
        plain_list(request, response, storage, *args, **kwargs)

    def read_data(handler, query):
        """An object may be empty; the emulator takes that for an upload without a body and fails."""
        data = plain_data(handler, query)
        return b"" if data is None and "uploadType" in query else data

    def route(old, new):
        for _, handlers in server.HANDLERS:
            handlers.update({method: new for method, function in handlers.items() if function is old})

    route(plain_list, ls)
    objects.download, server._read_data = download, read_data
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    kept = {"in_memory": True} if folder is None else {"data_dir": str(folder)}
    running = server.create_server("localhost", 0, default_bucket=BUCKET, **kept)
    running.start()
    try:
        yield f"http://localhost:{running._api._httpd.server_address[1]}"
    finally:
        running.stop()
        route(ls, plain_list)
        objects.download, server._read_data = plain, plain_data


def environment(address: str) -> dict[str, str]:
    """Variables that send TensorStore, gcsfs and google-cloud-storage to ``address`` instead of to Google.

    A call without progress fails after 3 seconds instead of the 30 of ``storage``.
    """
    return {
        "TENSORSTORE_GCS_HTTP_URL": address,
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "3",
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


class FaultyBucket(Server):
    """Passes calls on to ``upstream``; a share of them meets a fault.

    - ``503``, ``429``: an error in place of the server's answer;
    - ``cut``: half of what was read, and the connection ends; ``slow``: the answer comes in drops;
    - ``lost``: the call is carried out, and its answer lost (except for the last call of a resumable upload: the
      emulator, unlike Cloud Storage, does not keep that answer);
    - ``hang``: no answer for ``hang`` seconds.

    Args:
      rate: share of the calls that meet a fault, 0 to 1. seed: of the draws.
      faults: kinds to draw from. hang: seconds.

    Attributes:
      met: how often each fault was met. refused: status given to every write, or 0.
    """

    def __init__(self, upstream: str, *, rate: float = 0.0, seed: int = 0, faults=FAULTS, hang: float = 20.0):
        super().__init__(_Handler)
        self.host = upstream.removeprefix("http://")
        self.rate, self.kinds, self.hang, self.refused = rate, tuple(faults), hang, 0
        self.met, self.calls_passed, self._draws = Counter(), 0, random.Random(seed)
        self.upstream_lock = threading.Lock()  # the emulator serves one call at a time and queues five

    def draw(self) -> str | None:
        """The fault that the next call meets."""
        with self.lock:
            self.calls_passed += 1
            if self._draws.random() >= self.rate:
                return None
            kind = self._draws.choice(self.kinds)
            self.met[kind] += 1
            return kind


class _Handler(Handler):
    def pass_on(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = server.draw()
        if "upload_id" in self.path and fault in ("cut", "lost"):
            fault = "503"
        if server.refused and self.command != "GET":
            return self.answer(server.refused, {"error": {"code": server.refused, "message": "no permission"}})
        if fault in ("503", "429"):
            return self.answer(int(fault), {"error": {"code": int(fault), "message": "try again"}})
        if fault == "hang":
            server.closing.wait(server.hang)
            return None
        with server.upstream_lock:
            upstream = http.client.HTTPConnection(server.host, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body, headers)
            reply = upstream.getresponse()
            content, kept = reply.read(), reply.getheaders()
            upstream.close()
        if fault == "lost":
            return None
        self.send_response(reply.status, reply.reason)
        for name, value in kept:
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        if fault == "cut":
            content = content[: len(content) // 2]
        if fault == "slow":
            for start in range(0, min(len(content), 1 << 12), 1 << 10):
                self.wfile.write(content[start : start + (1 << 10)])
                self.wfile.flush()
                time.sleep(0.05)
            content = content[1 << 12 :]
        self.wfile.write(content)
        return None

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on
