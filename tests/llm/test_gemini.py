"""Gemini through ``google-genai``, against a local server that speaks the REST shape of its API.

The hosted service cannot be reached from a test. What is checked here is what our side sends, as the library spells it
on the wire, and what we make of each response; not that the service accepts it.
"""

import pytest
from gemini_stub import GeminiStub, generated

from polaris_jax.llm import CallFailed, Request

CALM = generated('{"mood": "calm"}', thoughts=20)
PASSING = {
    "429": "rate_limit",
    "500": "server",
    "hang": "timeout",
    "cut": "connection",
    "garbage": "invalid_json",
    "empty": "empty",
    "no parts": "empty",
    "cut JSON": "truncated",
    "breaks the schema": "invalid_json",
}
FINAL = {"bad schema": "bad_request", "unsafe": "refused", "blocked": "refused"}


@pytest.fixture
def server():
    pytest.importorskip("google.genai", reason="pip install polaris-jax[llm]")
    with GeminiStub() as running:
        yield running


@pytest.fixture
def gemini(server, connect, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "abc")
    fields = {
        "provider": "gemini",
        "model": "gemini-test",
        "api_key_env": "SOME_KEY",
        "timeout": 1.0,
        "prices": (1.0, 10.0),
    }
    return lambda **more: connect(server, **(fields | more))


def test_what_is_sent_and_what_is_read(server, gemini, mood):
    server.always = CALM
    client = gemini()
    asked = mood("Rain.", temperature=0.4)
    reply = client.ask(asked)
    assert reply.data == {"mood": "calm"}
    assert (reply.text, reply.model, client.identity) == ('{"mood": "calm"}', "gemini-test-001", "gemini/gemini-test")
    assert (reply.prompt_tokens, reply.completion_tokens) == (10, 25)  # hidden reasoning is billed
    assert client.usage.usd == pytest.approx((10 + 250) / 1e6)

    body = server.requests[0]
    assert server.paths == ["/v1beta/models/gemini-test:generateContent"]
    assert body["systemInstruction"]["parts"][0]["text"] == "Answer in JSON."
    assert body["contents"] == [{"role": "user", "parts": [{"text": asked.messages[1][1]}]}]
    settings = body["generationConfig"]
    assert (settings["temperature"], settings["maxOutputTokens"], settings["seed"]) == (0.4, 96, 7)
    assert settings["responseMimeType"] == "application/json"
    assert settings["responseJsonSchema"]["required"] == ["mood"]


def test_a_conversation_keeps_its_turns(server, gemini):
    server.always = generated("Aye.")
    turns = (("user", "Hello."), ("assistant", "Ahoy."), ("user", "Ready?"))
    assert gemini().ask(Request(turns)).text == "Aye."
    assert [turn["role"] for turn in server.requests[0]["contents"]] == ["user", "model", "user"]


@pytest.mark.parametrize("mode", ["json_object", "prompt"])
def test_a_schema_may_stand_in_the_prompt(server, gemini, mood, mode):
    server.always = CALM
    assert gemini(structured=mode).ask(mood("Rain.")).data == {"mood": "calm"}
    body = server.requests[0]
    assert mood("").schema in body["contents"][-1]["parts"][0]["text"]
    assert body["generationConfig"].get("responseMimeType") == ("application/json" if mode == "json_object" else None)
    assert "responseJsonSchema" not in body["generationConfig"]


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_is_asked_again_and_told_by_its_kind(server, gemini, mood, fault):
    server.faults, server.always = [fault], CALM
    assert gemini().ask(mood("Rain.")).attempts == len(server.requests) == 2
    if fault == "429":
        assert server.times[1] - server.times[0] >= 0.7  # as the error's RetryInfo asks
    server.faults = [fault]
    with pytest.raises(CallFailed) as failed:
        gemini(attempts=1).ask(mood("Rain."))
    assert failed.value.kind == PASSING[fault]


@pytest.mark.parametrize("fault", FINAL)
def test_what_will_not_change_is_not_asked_again(server, gemini, mood, fault):
    server.always = fault
    with pytest.raises(CallFailed) as failed:
        gemini().ask(mood("Rain."))
    assert (failed.value.kind, len(server.requests)) == (FINAL[fault], 1)
