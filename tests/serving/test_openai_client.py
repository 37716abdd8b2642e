"""What OpenAI's own client and curl get from ``polaris serve``."""

import json
import re
import subprocess

import openai
import pytest

SCHEMA = {
    "type": "object",
    "required": ["mood", "score"],
    "additionalProperties": False,
    "properties": {"mood": {"enum": ["calm", "grim"]}, "score": {"type": "integer", "minimum": 1, "maximum": 9}},
}
CHAT = [{"role": "user", "content": "How high is the water?"}]


def complete(client, **how):
    how = {"model": "tide", "prompt": "The keeper", "max_tokens": 12, "seed": 5} | how
    return client.completions.create(**how)


def chat(client, **how):
    return client.chat.completions.create(**{"model": "tide", "messages": CHAT, "max_tokens": 12, "seed": 5} | how)


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == ["tide"]
    assert client.models.retrieve("tide").id == "tide"
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.models.retrieve("other")


def test_the_same_seed_gives_the_same_text_whatever_else_runs(client):
    alone = complete(client, seed=7).choices[0].text
    many = complete(client, seed=7, prompt=["Nobody", "The keeper", "He said"], n=2)
    assert [choice.index for choice in many.choices] == list(range(6))
    assert complete(client, seed=7, prompt="The keeper").choices[0].text == alone
    assert complete(client, seed=8).choices[0].text != alone
    assert many.choices[2].text == alone  # the first sample of the second prompt
    assert many.choices[3].text != alone
    greedy = {complete(client, prompt=[5, 6, 7], temperature=0, seed=seed).choices[0].text for seed in (1, 2)}
    assert len(greedy) == 1


def test_usage_and_finish_reasons(client):
    reply = complete(client, extra_body={"ignore_eos": True})
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (12, "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens > 1


def test_stop_strings_are_left_out(client):
    whole = complete(client, temperature=0, max_tokens=40).choices[0].text
    stop = whole[10:12]
    cut = complete(client, temperature=0, max_tokens=40, stop=[stop]).choices[0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_echo_repeats_the_prompt(client):
    plain, echoed = complete(client).choices[0].text, complete(client, echo=True).choices[0].text
    assert echoed == "The keeper" + plain
    chunks = complete(client, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == echoed


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_says_what_the_whole_reply_says(client, n):
    for ask, read in ((complete, lambda choice: choice.text), (chat, lambda choice: choice.delta.content or "")):
        whole = ask(client, n=n, max_tokens=30)
        texts, reasons, usage = [""] * n, [None] * n, None
        for chunk in ask(client, n=n, max_tokens=30, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += read(choice)
                reasons[choice.index] = choice.finish_reason or reasons[choice.index]
        assert texts == [choice.text if ask is complete else choice.message.content for choice in whole.choices]
        assert reasons == [choice.finish_reason for choice in whole.choices]
        assert usage == whole.usage


def test_a_json_schema_binds_the_answer(client):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    for seed in range(4):
        reply = chat(client, response_format=form, seed=seed, max_tokens=60)
        answer = json.loads(reply.choices[0].message.content)
        assert answer["mood"] in ("calm", "grim")
        assert 1 <= answer["score"] <= 9
        assert reply.choices[0].finish_reason == "stop"
    assert json.loads(complete(client, extra_body={"guided_json": SCHEMA}, max_tokens=60).choices[0].text)


def test_any_json_object_and_regular_expressions(client):
    reply = chat(client, response_format={"type": "json_object"}, max_tokens=300, temperature=2.0, seed=1)
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(reply.choices[0].message.content), dict)
    assert reply.choices[0].message.content.startswith("{")
    for name in ("regex", "guided_regex"):
        text = complete(client, extra_body={name: "[0-9]{4}-[0-9]{2}"}, max_tokens=30).choices[0].text
        assert re.fullmatch("[0-9]{4}-[0-9]{2}", text)


def test_logprobs_of_completions_and_chats(client):
    reply = complete(client, logprobs=3, temperature=0, prompt="He said").choices[0]
    found = reply.logprobs
    assert "".join(found.tokens) == reply.text
    assert [len(top) <= 3 for top in found.top_logprobs] == [True] * len(found.tokens)
    assert all(value == max(top.values()) for value, top in zip(found.token_logprobs, found.top_logprobs, strict=True))
    assert found.text_offset[:2] == [0, len(found.tokens[0])]
    reply = chat(client, logprobs=True, top_logprobs=2, temperature=0).choices[0]
    content = reply.logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in content).decode("utf-8", "replace") == reply.message.content
    assert all(entry.logprob == entry.top_logprobs[0].logprob for entry in content)
    streamed = [
        entry
        for chunk in chat(client, logprobs=True, top_logprobs=2, temperature=0, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert streamed == content
    # A token that the grammar forces was not drawn: it is certain.
    forced = complete(client, logprobs=0, extra_body={"regex": "water"}).choices[0].logprobs
    assert set(forced.token_logprobs) == {0.0}


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"model": "gpt-5"}, "model", "is not served here"),
        ({"max_tokens": 0}, "max_tokens", "needs echo"),
        ({"max_tokens": 900}, "max_tokens", "At most 600"),
        ({"prompt": "a" * 20_000}, None, "window"),
        ({"prompt": [9999]}, "prompt", "no token id"),
        ({"temperature": -1}, "temperature", "minimum"),
        ({"top_p": 0}, "top_p", "less than or equal"),
        ({"n": 9}, "n", "at most 8"),
        ({"presence_penalty": 2.5}, "presence_penalty", "maximum"),
        ({"logit_bias": {"9999": 1}}, "logit_bias", "token ids"),
        ({"logit_bias": {"fog": 1}}, "logit_bias", "fog"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "maximum"),
        ({"extra_body": {"min_tokens": 13}}, "min_tokens", "max_tokens"),
        ({"extra_body": {"colour": "blue"}}, "colour", "not a field"),
        ({"extra_body": {"regex": "("}}, "regex", "("),
        ({"extra_body": {"regex": "a", "guided_regex": "b"}}, "regex", "Only one"),
        ({"extra_body": {"regex": "a" * 70_000}}, "regex", "longer"),
        ({"extra_body": {"guided_json": {"type": "nonsense"}}}, "json_schema", "nonsense"),
        ({"stop": [""]}, "stop[0]", "non-empty"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_name_of_the_field(client, change, param, says):
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        complete(client, **change)
    error = caught.value.body
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert says in error["message"]


def test_chats_take_parts_and_refuse_tools(client):
    with pytest.raises(openai.BadRequestError, match="tools"):
        chat(client, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        chat(client, top_logprobs=2)
    parts = [{"type": "text", "text": "How high "}, {"type": "text", "text": "is the water?"}]
    assert (
        chat(client, messages=[{"role": "user", "content": parts}]).choices[0].message.content
        == chat(client).choices[0].message.content
    )


def test_curl(server):
    def curl(path, *flags):
        command = ["curl", "-sS", "-w", "\n%{http_code}", *flags, f"{server.url}{path}"]
        body, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
        return int(status), body

    asks = [
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps({"model": "tide", "prompt": "The", "max_tokens": 4, "seed": 1}),
    ]
    status, body = curl("/v1/completions", *asks)
    assert (status, json.loads(body)["object"]) == (200, "text_completion")
    status, body = curl("/v1/completions", "-N", *asks[:3], asks[3][:-1] + ', "stream": true}')
    lines = [line for line in body.split("\n\n") if line]
    assert status == 200
    assert lines[-1] == "data: [DONE]"
    assert (
        "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-1])
        == json.loads(curl("/v1/completions", *asks)[1])["choices"][0]["text"]
    )
    assert curl("/health")[0] == 200
    for path, flags, wanted in (
        ("/v1/completions", ["-d", "{}"], 415),
        ("/v1/completions", [*asks[:3], "{"], 400),
        ("/v1/completions", ["-X", "DELETE"], 405),
        ("/v2", [], 404),
        ("/health", ["-H", "Host: example.org"], 400),
        ("/v1/completions", [*asks[:3], '{"prompt": "' + "a" * 100_000 + '"}'], 400),
    ):
        status, body = curl(path, *flags)
        assert status == wanted, body
        if path != "/health":
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_a_body_that_is_too_large_gets_an_answer(server, tmp_path):
    (tmp_path / "body").write_text('{"prompt": "' + "a" * 900_000 + '"}')
    command = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "Content-Type: application/json",
        "-H",
        "Expect:",
        "--data-binary",
        f"@{tmp_path / 'body'}",
        f"{server.url}/v1/completions",
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "413"
