"""Under any fault on the way, a client gives the model's own answer or none."""

import random

import pytest
from servers import ANSWERS, MODEL

from polaris_jax.llm import CallFailed, ClientSpec, open_client

NETWORK = {
    "429": "rate_limit",
    "500": "server",
    "503 in HTML": "server",
    "error in a 200": "server",
    "cut": "connection",
}
SPOILED = {
    "garbage": "invalid_json",
    "not a completion": "invalid_json",
    "empty": "empty",
    "no content": "empty",
    "only thinking": "empty",
    "prose": "invalid_json",
    "half JSON": "invalid_json",
    "cut JSON": "truncated",
    "breaks the schema": "invalid_json",
}
FINAL = {"refusal": "refused", "filtered": "refused", "no credit": "quota", "unknown model": "bad_request"}
MOODS = ("calm", "tense", "merry")
LINE = "The sea lay flat."


@pytest.fixture(scope="module")
def undisturbed(model_server, word):
    """The model's answers without a fault."""
    with open_client(ClientSpec("openai", MODEL, base_url=f"{model_server}/v1")) as client:
        return client.ask(word(LINE)).data


@pytest.mark.parametrize("fault", NETWORK | SPOILED)
def test_a_fault_that_passes_costs_one_attempt(proxy, connect, word, undisturbed, fault):
    proxy.faults = [fault]
    client = connect(proxy)
    reply = client.ask(word(LINE))
    assert reply.data in MOODS
    assert reply.attempts == client.usage.calls == proxy.calls == 2
    assert (client.usage.retries, client.usage.failed) == (1, 0)
    if fault in NETWORK:
        assert reply.data == undisturbed
        assert proxy.requests[0] == proxy.requests[1]


def test_a_server_that_hangs_is_left_and_asked_again(proxy, connect, word, undisturbed):
    proxy.faults = ["hang"]
    client = connect(proxy, timeout=4.0)
    reply = client.ask(word(LINE))
    assert reply.data == undisturbed
    assert reply.attempts == proxy.calls >= 2
    # A server that hangs may charge for the call, so it is booked at its upper bound.
    assert client.usage.summary()["unknown"] == reply.attempts - 1


@pytest.mark.parametrize("fault", NETWORK | SPOILED)
def test_a_fault_that_stays_is_a_failure_of_its_kind(stub, connect, mood, fault):
    stub.always = {"Mood": fault}
    client = connect(stub, attempts=3)
    with pytest.raises(CallFailed) as failed:
        client.ask(mood(LINE))
    assert (failed.value.kind, failed.value.attempts) == ((NETWORK | SPOILED)[fault], 3)
    assert stub.calls == client.usage.calls == 3
    assert client.usage.failed == 1
    assert "\n" not in str(failed.value)
    if fault in ("prose", "half JSON", "breaks the schema"):
        assert failed.value.reply == ANSWERS[fault][1]["choices"][0]["message"]["content"]


@pytest.mark.parametrize("fault", FINAL)
def test_what_will_not_change_is_not_asked_again(stub, connect, mood, fault):
    stub.always = {"Mood": fault}
    with pytest.raises(CallFailed) as failed:
        connect(stub).ask(mood(LINE))
    assert (failed.value.kind, failed.value.attempts, stub.calls) == (FINAL[fault], 1, 1)


def test_no_server_at_all(connect, stub, mood):
    client = connect(stub, base_url="http://127.0.0.1:9/v1", attempts=2)
    with pytest.raises(CallFailed, match="connection after 2 attempts"):
        client.ask(mood(LINE))
    assert client.usage.tokens == 0


def test_one_failure_leaves_the_others_alone_and_is_not_kept(proxy, connect, word, tmp_path):
    proxy.always = {"Cursed": "500"}
    requests = [word("The sea lay flat."), word("Cursed line."), word("Rain.")]
    first = connect(proxy, attempts=2, cache=str(tmp_path)).ask_all(requests)
    assert [isinstance(reply, CallFailed) for reply in first] == [False, True, False]
    assert first[1].kind == "server"
    proxy.always = {}
    second = connect(proxy, cache=str(tmp_path)).ask_all(requests)
    assert [reply.cached for reply in second] == [True, False, True]
    assert second[1].data


def test_a_storm_of_faults_loses_nothing(proxy, connect, word):
    weather = random.Random(5)
    faults = [*NETWORK, *SPOILED, None, None, None]
    proxy.faults = [weather.choice(faults) for _ in range(14)]
    client = connect(proxy, attempts=16, concurrency=4)
    replies = client.ask_all([word(f"Line {n}.") for n in range(8)])
    assert all(reply.data in MOODS for reply in replies)
    assert sum(reply.attempts for reply in replies) == client.usage.calls == proxy.calls
    assert client.usage.retries == proxy.calls - 8


def test_the_server_says_when_to_come_back(stub, connect, mood):
    stub.faults = ["429 in a second", ANSWERS["breaks the schema"][1]]
    with pytest.raises(CallFailed):
        connect(stub, attempts=2).ask(mood(LINE))
    assert stub.times[1] - stub.times[0] >= 1.0
    assert stub.calls == 2
    # A call does not wait an hour.
    stub.always = {"Mood": "429 in an hour"}
    with pytest.raises(CallFailed, match="rate_limit after 1 attempt:"):
        connect(stub).ask(mood(LINE))
