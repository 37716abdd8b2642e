"""A real model behind a proxy, and clients of it."""

import json

import pytest
from servers import MODEL, Proxy

from polaris_jax.llm import ClientSpec, Request, open_client

MOOD = json.dumps(
    {
        "type": "object",
        "properties": {"mood": {"enum": ["calm", "tense", "merry"]}},
        "required": ["mood"],
        "additionalProperties": False,
    }
)
WORD = json.dumps({"enum": ["calm", "tense", "merry"]})


@pytest.fixture
def proxy(model_server):
    with Proxy(model_server) as running:
        yield running


@pytest.fixture
def stub():
    """A proxy with nothing behind it, for calls that all meet a fault."""
    with Proxy() as running:
        yield running


@pytest.fixture
def connect():
    """``connect(proxy, **fields)``: a client of the proxy that hardly waits between attempts; closed after the test."""
    clients = []

    def open_to(proxy, usage=None, **fields):
        spec = ClientSpec(
            **{"provider": "openai", "model": MODEL, "base_url": proxy.base_url, "backoff": 0.01, **fields}
        )
        clients.append(open_client(spec, usage=usage))
        return clients[-1]

    yield open_to
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def mood():
    """``mood(words)``: asks for the mood of a line, constrained by a schema, in a few tokens."""

    def asked(words, **fields):
        fields = {"schema": MOOD, "max_tokens": 96, "seed": 7, "purpose": "mood"} | fields
        return Request((("system", "Answer in JSON."), ("user", f"Mood of the line: {words}")), **fields)

    return asked


@pytest.fixture(scope="session")
def word(mood):
    """``word(words)``: the same question, answered by one JSON string: a few tokens of a real model."""
    return lambda words, **fields: mood(words, schema=WORD, **fields)
