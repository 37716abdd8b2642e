"""A key is sent to its server and is found nowhere else."""

import logging
import pickle
import traceback

import pytest
from gemini_stub import GeminiStub, generated
from servers import completion

from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed, ClientSpec

KEY = "sk-planted-4711-never-seen"
VARIABLE = "POLARIS_TEST_KEY"


@pytest.fixture
def planted(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture(params=["openai", "gemini"])
def provider(request, connect, stub, planted):
    """``(server, client, refuse)``: a client with a key, and a switch that makes its server refuse it, aloud."""
    if request.param == "openai":
        stub.always = {"Mood": completion('{"mood": "calm"}')}

        def refuse():
            stub.always = {"Mood": "echo the key"}

        yield stub, lambda **fields: connect(stub, api_key_env=VARIABLE, **fields), refuse
        return
    with GeminiStub() as server:
        server.always = generated('{"mood": "calm"}')

        def refuse():
            server.always = "echo the key"

        fields = {"provider": "gemini", "model": "gemini-test", "api_key_env": VARIABLE}
        yield server, lambda **more: connect(server, **fields, **more), refuse


def everything(error):
    """All that a traceback printer could show of an exception, local variables and hidden causes included."""
    shown = []
    while error is not None:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown += [*trace.format(), repr(error), str(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "".join(shown)


def test_a_planted_key_is_nowhere(provider, mood, tmp_path, caplog, capfd):
    server, open_with, refuse = provider
    caplog.set_level(logging.DEBUG)
    client = open_with(cache=str(tmp_path / "cache"))
    assert client.ask(mood("Rain.")).data == {"mood": "calm"}
    assert KEY in server.keys[-1]

    refuse()
    with pytest.raises(CallFailed) as failed:
        client.ask(mood("Snow."))
    assert (failed.value.kind, failed.value.attempts) == ("auth", 1)
    assert KEY in server.keys[-1]
    assert "***" in failed.value.detail  # the server did repeat it
    client.usage.write(tmp_path / "ledger.json")

    places = {
        "exception": everything(failed.value),
        "pickle": repr(pickle.dumps(failed.value)),
        "client": repr(client) + client.identity,
        "log": caplog.text + repr([record.__dict__ for record in caplog.records]),
        "output": "".join(capfd.readouterr()),
    }
    places |= {str(path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(places) >= 7
    assert [place for place, text in places.items() if KEY in text] == []


def test_the_key_is_read_at_every_call(provider, mood, monkeypatch):
    server, open_with, _ = provider
    client = open_with()
    client.ask(mood("Rain."))
    monkeypatch.setenv(VARIABLE, "sk-rotated")
    client.ask(mood("Snow."))
    assert KEY in server.keys[0]
    assert "sk-rotated" in server.keys[1]
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(InputError, match=VARIABLE):
        client.ask(mood("Hail."))
    assert (client.usage.calls, client.usage.summary()["unknown"]) == (2, 0)


def test_a_server_of_ones_own_is_not_sent_the_hosted_key(stub, connect, mood, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stub.always = {"Mood": completion('{"mood": "calm"}')}
    connect(stub).ask(mood("Rain."))
    assert KEY not in stub.keys[0]


@pytest.mark.parametrize(
    "fields", [{"api_key_env": KEY}, {"base_url": f"https://user:{KEY}@host/v1"}, {"base_url": f"https://h/?key={KEY}"}]
)
def test_a_key_in_the_wrong_place_is_refused_without_repeating_it(fields):
    with pytest.raises(InputError) as refused:
        ClientSpec("openai", "m", **fields)
    assert KEY not in "".join(traceback.format_exception(refused.value))
