"""A client of a real model: answers fit the schema, are paid once, and stay within concurrency and budget."""

import threading

import pytest
from servers import completion

from polaris_jax.errors import InputError
from polaris_jax.llm import BudgetSpent, CallFailed, Request

LINES = (
    "The sea lay flat.",
    "He ran for his life.",
    "They danced till dawn.",
    "No one spoke.",
    "Drums! Drums!",
    "Rain.",
)
CALM = completion('{"mood": "calm"}')


def test_an_answer_under_a_schema_is_made_once(proxy, connect, mood, tmp_path):
    requests = [mood(line) for line in LINES[:3]]
    client = connect(proxy, cache=str(tmp_path))
    first = client.ask_all(requests)
    assert all(reply.data["mood"] in ("calm", "tense", "merry") for reply in first)
    assert all(reply.prompt_tokens > 10 and reply.completion_tokens > 3 and not reply.cached for reply in first)
    assert proxy.calls == client.usage.calls == sum(reply.attempts for reply in first)
    made = proxy.calls

    rerun = connect(proxy, cache=str(tmp_path))
    again = rerun.ask_all(requests)
    assert proxy.calls == made
    assert [(reply.text, reply.data) for reply in again] == [(reply.text, reply.data) for reply in first]
    assert all(reply.cached and reply.attempts == 0 for reply in again)
    assert (rerun.usage.calls, rerun.usage.cached, rerun.usage.tokens) == (0, 3, 0)

    recorded = connect(proxy, provider="replay", model="openai/smollm2", base_url=None, cache=str(tmp_path))
    *known, unknown = recorded.ask_all([*requests, mood("Something new.")])
    assert [reply.text for reply in known] == [reply.text for reply in first]
    assert isinstance(unknown, CallFailed)
    assert (unknown.kind, unknown.attempts, proxy.calls) == ("not_recorded", 0, made)


def test_samples_of_one_request_are_draws_of_their_own_that_come_back(proxy, connect):
    def draws():
        asked = [
            Request((("user", "Name a ship."),), temperature=1.5, max_tokens=6, seed=3, sample=n) for n in range(3)
        ]
        return [reply.text for reply in connect(proxy, concurrency=1).ask_all(asked)]

    first = draws()
    assert len(set(first)) > 1
    seeds = [body["seed"] for body in proxy.requests]
    assert seeds[0] == 3
    assert len(set(seeds)) == 3
    draws()
    assert [body["seed"] for body in proxy.requests[3:]] == seeds


def test_free_text_says_that_it_was_cut(proxy, connect):
    reply = connect(proxy).ask(Request((("user", "Tell a long story."),), max_tokens=5))
    assert (reply.finish, reply.data, reply.completion_tokens) == ("length", None, 5)


def test_what_decides_the_answer_decides_the_key(mood):
    base = mood("Rain.")
    others = [
        mood("Snow."),
        mood("Rain.", version="2"),
        mood("Rain.", sample=1),
        mood("Rain.", seed=8),
        mood("Rain.", temperature=0.5),
        mood("Rain.", max_tokens=49),
        mood("Rain.", schema=None),
    ]
    keys = {request.key("openai/a") for request in (base, *others)} | {base.key("openai/b")}
    assert len(keys) == len(others) + 2
    assert mood("Rain.", purpose="else").key("openai/a") == base.key("openai/a")
    spaced = base.schema.replace(":", " : ")
    assert mood("Rain.", schema=spaced).key("openai/a") == base.key("openai/a")


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_calls_in_flight_than_allowed(stub, connect, mood, limit):
    stub.always, stub.delay = {"Mood": CALM}, 0.2
    client = connect(stub, concurrency=limit)
    threads = [threading.Thread(target=client.ask, args=(mood(line),)) for line in LINES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (stub.calls, stub.most) == (len(LINES), limit)


def test_the_same_question_at_the_same_time_is_one_call(stub, connect, mood):
    stub.always, stub.delay = {"Mood": CALM}, 0.5
    client = connect(stub)
    replies = client.ask_all([mood("Rain.")] * 6)
    assert stub.calls == client.usage.calls == 1
    assert sorted(reply.cached for reply in replies) == [False] + [True] * 5
    assert (client.usage.cached, client.usage.tokens) == (5, 15)


@pytest.mark.parametrize(
    ("mode", "told", "sent"),
    [("json_schema", False, "json_schema"), ("json_object", True, "json_object"), ("prompt", True, None)],
)
def test_the_three_ways_to_ask_for_json(stub, connect, mood, mode, told, sent):
    stub.faults = [completion('<think>Flat {sea}.</think>Here:\n```json\n{"mood": "calm"}\n```')]
    assert connect(stub, structured=mode).ask(mood(LINES[0])).data == {"mood": "calm"}
    body = stub.requests[0]
    assert (mood("").schema in body["messages"][-1]["content"]) == told
    assert body.get("response_format", {}).get("type") == sent
    if mode == "json_schema":
        assert body["response_format"]["json_schema"]["strict"] is True


def test_reasoning_models_are_asked_in_their_own_words(stub, connect, mood):
    stub.faults = [CALM]
    connect(stub, model="openai/gpt-5-mini").ask(mood(LINES[0]))
    assert stub.requests[0]["max_completion_tokens"] == 96
    assert not {"temperature", "seed", "max_tokens"} & set(stub.requests[0])


class TestBudget:
    def test_stops_before_it_is_exceeded_and_goes_on_from_the_cache(self, proxy, connect, word, tmp_path):
        requests = [word(line) for line in LINES]
        poor = connect(proxy, cache=str(tmp_path), budget_tokens=500)
        with pytest.raises(BudgetSpent) as stopped:
            poor.ask_all(requests)
        assert 0 < poor.usage.tokens <= 500
        assert "budget of 500 tokens" in str(stopped.value)
        rich = connect(proxy, cache=str(tmp_path))
        replies = rich.ask_all(requests)
        assert all(reply.data for reply in replies)
        # Every answer was paid for once, in the first run or in the second.
        assert 0 < rich.usage.cached < len(LINES)
        assert rich.usage.cached == poor.usage.calls - poor.usage.retries
        assert proxy.calls == poor.usage.calls + rich.usage.calls

    def test_money_by_the_price_list(self, stub, connect, mood):
        stub.always = {"Mood": CALM}
        client = connect(stub, prices=(1.0, 10.0), budget_usd=1.0)
        client.ask(mood(LINES[0]))
        client.ask(mood(LINES[1], purpose="other"))
        assert client.usage.usd == pytest.approx(2 * (10 * 1.0 + 5 * 10.0) / 1e6)
        assert client.usage.summary()["purposes"]["other"]["usd"] == pytest.approx(60e-6)
        with pytest.raises(BudgetSpent, match="usd"):
            connect(stub, prices=(1.0, 10.0), budget_usd=1e-4).ask(mood(LINES[2]))

    def test_many_threads_wait_for_each_other_rather_than_stop_early(self, stub, connect, mood):
        stub.always = {"Mood": CALM}
        # One call is set aside at its upper bound and costs 15 tokens: together they fit only one after the other.
        client = connect(stub, concurrency=6, budget_tokens=700)
        assert all(reply.data for reply in client.ask_all([mood(line) for line in LINES]))
        assert client.usage.tokens == 15 * len(LINES)

    def test_usage_continues_from_its_file(self, stub, connect, mood, tmp_path):
        stub.always = {"Mood": CALM}
        first = connect(stub)
        first.ask(mood(LINES[0]))
        first.usage.write(tmp_path / "ledger.json")
        second = connect(stub, budget_tokens=500)
        second.usage.restore(tmp_path / "ledger.json")
        second.ask(mood(LINES[1]))
        assert (second.usage.calls, second.usage.tokens) == (2, 30)
        (tmp_path / "ledger.json").write_text("{}")
        with pytest.raises(InputError, match="ledger"):
            second.usage.restore(tmp_path / "ledger.json")


def test_a_wrong_schema_costs_no_call(stub, connect, mood):
    with pytest.raises(InputError, match="not a JSON schema"):
        connect(stub).ask(mood("Rain.", schema='{"type": "colour"}'))
    assert stub.calls == 0
