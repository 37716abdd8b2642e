"""Options of a client: what each provider gets, what a reply's key holds, how a truncated answer is asked again."""

import json

import pytest
from gemini_stub import GeminiStub, generated
from servers import completion

from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed, ClientSpec, open_client

CUT = completion('{"mood": "ca', finish="length")


def test_they_reach_an_openai_server(stub, connect, mood):
    stub.always = {"Mood": completion('{"mood": "calm"}')}
    connect(stub, top_p=0.9, effort="low", tier="flex").ask(mood("The sea."))
    connect(stub).ask(mood("The sea."))
    dialled, plain = stub.requests
    assert (dialled["top_p"], dialled["reasoning_effort"], dialled["service_tier"]) == (0.9, "low", "flex")
    assert not {"top_p", "reasoning_effort", "service_tier"} & plain.keys()


def test_they_reach_gemini(mood, monkeypatch):
    monkeypatch.setenv("STUB_KEY", "k")
    with GeminiStub() as stub:
        stub.always = generated('{"mood": "calm"}')
        spec = ClientSpec("gemini", "m", stub.base_url, "STUB_KEY", top_p=0.9, effort="low", tier="flex", safety="none")
        with open_client(spec) as client:
            client.ask(mood("The sea."))
        [asked] = stub.requests
    assert asked["generationConfig"]["topP"] == 0.9
    assert [level.lower() for level in asked["generationConfig"]["thinkingConfig"].values()] == ["low"]
    assert asked["serviceTier"].lower() == "flex"
    assert {one["threshold"] for one in asked["safetySettings"]} == {"BLOCK_NONE"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"safety": "high"}, "only gemini"),
        ({"provider": "gemini", "effort": "none"}, "no such level"),
        ({"effort": "extreme"}, "choose one of"),
        ({"tier": "first class"}, "choose one of"),
        ({"top_p": 1.5}, "at most 1"),
    ],
)
def test_what_a_provider_does_not_have_is_refused(fields, told):
    with pytest.raises(InputError, match=told):
        ClientSpec(**{"provider": "openai", "model": "m"} | fields)


def test_what_changes_answers_is_in_the_key_and_the_tier_is_not():
    plain, dialled, flex = (
        ClientSpec("openai", "m", **dials) for dials in ({}, {"effort": "high", "top_p": 0.5}, {"tier": "flex"})
    )
    assert plain.key_identity == flex.key_identity == "openai/m"
    assert dialled.key_identity == "openai/m top_p=0.5 effort=high"


def test_a_cut_answer_is_asked_for_at_twice_the_limit_and_not_for_ever(stub, connect, mood):
    stub.faults = [CUT, completion('{"mood": "calm"}')]
    assert connect(stub).ask(mood("The sea.")).attempts == 2
    limits = [request["max_tokens"] for request in stub.requests]
    assert limits[1] == 2 * limits[0]
    stub.always = {"Mood": CUT}
    with pytest.raises(CallFailed) as failed:
        connect(stub, attempts=6).ask(mood("The hills."))
    assert (failed.value.kind, failed.value.attempts) == ("truncated", 3)
    assert [request["max_tokens"] for request in stub.requests[2:]] == [limits[0], 2 * limits[0], 4 * limits[0]]


def test_a_server_that_takes_no_greater_limit_leaves_the_answer_cut(stub, connect, mood):
    stub.faults = [CUT, "unknown model"]
    with pytest.raises(CallFailed) as failed:
        connect(stub).ask(mood("The sea."))
    assert (failed.value.kind, stub.calls) == ("truncated", 2)


def test_an_ambiguous_answer_is_asked_again_once(stub, connect, mood):
    stub.always = {"Mood": completion('{"mood": "calm"} or {"mood": "tense"}')}
    with pytest.raises(CallFailed) as failed:
        connect(stub, attempts=6).ask(mood("The sea."))
    assert (failed.value.kind, failed.value.attempts) == ("ambiguous", 2)


@pytest.mark.parametrize(("fault", "hopeless"), [("unknown model", True), ("no credit", True), ("refusal", False)])
def test_a_failure_says_whether_asking_anything_else_is_in_vain(stub, connect, mood, fault, hopeless):
    stub.always = {"Mood": fault}
    with pytest.raises(CallFailed) as failed:
        connect(stub).ask(mood("The sea."))
    assert failed.value.hopeless is hopeless


def test_half_a_character_is_sent_whole(stub, connect, mood):
    stub.always = {"Mood": completion('{"mood": "calm"}')}
    connect(stub).ask(mood("\ud800 The sea."))
    assert "\ufffd The sea." in json.dumps(stub.requests[0], ensure_ascii=False)
