"""A small share of ``benchmarks/serve_fuzz.py``: whatever is sent, the server answers and goes on."""

import asyncio
import importlib.util
from argparse import Namespace
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "serve_fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("serve_fuzz", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bad_requests_are_answered_and_leave_no_trace(fuzz, server):
    arguments = Namespace(seed=3, requests=250, parallel=6, growth=400.0)
    result = asyncio.run(fuzz.run(arguments, server.url, server.process.pid))
    assert result["wrong"] == []
    assert result["requests"] == 250
    assert result["statuses"]["400"] > 100
    assert result["statuses"]["200"] > 5
