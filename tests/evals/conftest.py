"""Judges: a real model behind a proxy, and proxies with fixed answers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers import MODEL, Proxy


@pytest.fixture
def proxy(model_server):
    """A real model behind a proxy; ``proxy.judge`` is its address for ``--judge``."""
    with Proxy(model_server) as running:
        running.judge = f"openai:{MODEL}@{running.base_url}"
        yield running


@pytest.fixture
def judge_server():
    """``judge_server({word: answer}, name)``: a judge with a fixed answer to requests that contain the word."""
    running = []

    def serve(answers, name="judge"):
        server = Proxy()
        server.always = answers
        server.judge = f"openai:{name}@{server.base_url}"
        running.append(server)
        return server.__enter__()

    yield serve
    for server in running:
        server.__exit__()
