"""Servers for the tests: a model server in a process of its own, and a proxy that makes calls to it fail."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "smollm2"

_MODEL_SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {sys.argv[2]}
params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 0
# Two slots of 4,096 tokens; one thread: several would spin on each other where the machine has other work.
params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 8192, 2, 1, 1
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def model_server(gguf):
    """llama.cpp's own HTTP server with a real model; yields its address. It ends with this process."""
    command = [sys.executable, "-c", _MODEL_SERVER, str(gguf), MODEL]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        address = next((line.split()[1] for line in process.stdout if line.startswith("listening")), None)
        assert address, "the model server did not start"
        yield address
        process.kill()


class Server(ThreadingHTTPServer):
    """An HTTP server on a free loopback port, for ``with``; keeps ``requests``, ``keys`` and arrival ``times``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.requests: list[dict] = []
        self.keys: list[str] = []
        self.times: list[float] = []  # seconds, monotonic
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def note(self, body, key):
        """Records a call."""
        self.requests.append(body)
        self.keys.append(key)
        self.times.append(time.monotonic())

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def calls(self):
        return len(self.requests)

    def handle_error(self, request, client_address):
        """Clients disconnect in some tests; that needs no traceback."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Reads a JSON body, and answers in JSON."""

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def answer(self, status, content, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (("content-type", "application/json"), ("content-length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """Quiet."""


def completion(content, finish="stop", **message):
    """A chat completion as a server sends it."""
    return {
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": finish, "message": {"content": content, **message}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }


# name → (status, body, headers) of the proxy's answers in place of the model's
ANSWERS = {
    "429": (429, {"error": {"message": "slow down"}}, ()),
    "429 in a second": (429, {"error": {"message": "slow down"}}, (("retry-after", "1"),)),
    "429 in an hour": (429, {"error": {"message": "slow down"}}, (("retry-after", "3600"),)),
    "500": (500, {"error": {"message": "oops"}}, ()),
    "503 in HTML": (503, b"<html>down for maintenance</html>", (("content-type", "text/html"),)),
    "error in a 200": (200, {"error": {"message": "upstream is down", "code": 502}}, ()),
    "garbage": (200, b'{"choices": [{"mess', ()),
    "not a completion": (200, {"hello": "world"}, ()),
    "empty": (200, completion(""), ()),
    "no content": (200, completion(None), ()),
    "only thinking": (200, completion("<think>The sailor is calm."), ()),
    "prose": (200, completion("The sailor is calm."), ()),
    "half JSON": (200, completion('{"mood": "ca'), ()),
    "cut JSON": (200, completion('{"mood": "ca', finish="length"), ()),
    "breaks the schema": (200, completion('{"mood": "green"}'), ()),
    "refusal": (200, completion(None, refusal="I cannot help with that."), ()),
    "filtered": (200, completion("", finish="content_filter"), ()),
    "no credit": (429, {"error": {"message": "pay first", "code": "insufficient_quota"}}, ()),
    "unknown model": (404, {"error": {"message": "no such model"}}, ()),
}


class Proxy(Server):
    """Passes calls on to ``upstream`` unless they meet a fault: a name of ``ANSWERS``, ``hang``, ``cut``, or a body.

    Attributes:
      faults: the next calls meet these, in order, one each.
      always: fault of every call whose body contains the word.
      delay: seconds before any answer.
      most: largest number of calls in flight at once so far.
    """

    def __init__(self, upstream="http://127.0.0.1:1"):  # by default nothing listens there
        super().__init__(_ProxyHandler)
        self.upstream, self.faults, self.always, self.delay = upstream, [], {}, 0.0
        self.in_flight = self.most = 0

    @property
    def base_url(self):
        return f"{self.address}/v1"

    def fault(self, body, key):
        text = json.dumps(body)
        with self.lock:
            self.note(body, key)
            lasting = next((fault for word, fault in self.always.items() if word in text), None)
            return lasting or (self.faults.pop(0) if self.faults else None)


class _ProxyHandler(Handler):
    counted = False  # among the calls in flight

    def do_GET(self):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            self.server.upstream + self.path
        ) as reply:
            self.answer(reply.status, reply.read())

    def do_POST(self):
        with self.server.lock:
            self.counted = True
            self.server.in_flight += 1
            self.server.most = max(self.server.most, self.server.in_flight)
        try:
            self.pass_on()
        finally:
            self.ended()

    def ended(self):
        with self.server.lock:
            self.server.in_flight -= self.counted
            self.counted = False

    def answer(self, *arguments, **options):
        self.ended()  # before the client has its answer: its next call may arrive before this thread goes on
        super().answer(*arguments, **options)

    def pass_on(self):
        body = self.body()
        fault = self.server.fault(body, self.headers["authorization"])
        self.server.closing.wait(self.server.delay)
        if fault == "hang":
            self.server.closing.wait(30)
        elif fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "echo the key":
            self.answer(401, {"error": {"message": f"bad key: {self.headers['authorization']}"}})
        elif isinstance(fault, dict):
            self.answer(200, fault)
        elif fault is not None:
            self.answer(*ANSWERS[fault])
        else:
            request = urllib.request.Request(
                self.server.upstream + self.path, json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as reply:
                self.answer(reply.status, reply.read())
