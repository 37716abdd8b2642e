"""A client's spec can be pickled, and a wrong field is named."""

import importlib
import pickle

import pytest

from polaris_jax.errors import InputError
from polaris_jax.llm import BudgetSpent, CallFailed, ClientSpec, ModelOrOfflineSpec, Request, open_client


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"provider": "oracle"}, "openai, gemini, replay"),
        ({"model": ""}, "model"),
        ({"attempts": 0}, "at least 1"),
        ({"concurrency": 0}, "at least 1"),
        ({"timeout": 0}, "seconds"),
        ({"structured": "xml"}, "json_schema"),
        ({"base_url": "localhost:8000"}, "http"),
        ({"budget_usd": 1.0}, "prices"),
        ({"budget_tokens": -1}, "0 or more"),
        ({"provider": "replay"}, "cache"),
        ({"backoff": -1.0}, "backoff"),
    ],
)
def test_a_wrong_field_is_named(fields, told):
    with pytest.raises(InputError, match=told):
        ClientSpec(**{"provider": "openai", "model": "m"} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": ()},
        {"messages": (("narrator", "x"),)},
        {"schema": "{"},
        {"schema": "[]"},
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"sample": -1},
    ],
)
def test_a_wrong_request_is_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        Request(**{"messages": (("user", "x"),)} | fields)


def test_what_travels_between_processes_arrives():
    spec = ClientSpec("gemini", "m", cache="gs://bucket/replies", prices=(1.0, 2.0))
    failed, spent = CallFailed("server", 3, "HTTP 500", "half"), BudgetSpent("usd", 1.0, 0.9, 0.2)
    assert pickle.loads(pickle.dumps(spec)) == spec
    for error in (failed, spent):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize(("provider", "library"), [("openai", "openai"), ("gemini", "google.genai")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, provider, library):
    real = importlib.import_module

    def without(name, package=None):
        if name == library:
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match=r"pip install polaris-jax\[llm\]"):
        open_client(ClientSpec(provider, "m"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"kind": "oracle"}, "offline, llm"),
        ({"kind": "llm"}, "client"),
        ({"client": ClientSpec("openai", "m")}, "client"),
        ({"samples": 0}, "at least 1"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_a_model_or_nobody_is_asked(fields, told):
    with pytest.raises(InputError, match=told):
        ModelOrOfflineSpec(**fields)
