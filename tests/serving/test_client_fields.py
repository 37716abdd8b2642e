"""Fields that clients send: echoed replies with nulls, tools that are off, biases, penalties, continued messages."""

import json

import openai
import pytest
import tokenizers
from serving_process import plain_checkpoint, running

from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.errors import InputError
from polaris_jax.sampling import grammar_tokenizer
from polaris_jax.serving import Limits, ServedModel, load_prompt_encoder
from polaris_jax.serving.generation_defaults import sampling_defaults
from polaris_jax.serving.requests import completion

ASK = [{"role": "user", "content": "How high is the water?"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def chat(client, **how):
    how = {"model": "tide", "messages": ASK, "max_tokens": 12, "temperature": 0} | how
    return client.chat.completions.create(**how).choices[0]


def test_a_reply_can_be_sent_back_as_it_came(client):
    message = chat(client).message
    assert None in message.model_dump().values()
    again = [*ASK, message.model_dump(), *ASK]
    plain = [*ASK, {"role": "assistant", "content": message.content}, *ASK]
    assert chat(client, messages=again).message.content == chat(client, messages=plain).message.content
    echoed = {"role": "assistant", "content": None, "tool_calls": [], "annotations": [], "audio": None, "refusal": None}
    empty = [*ASK, {"role": "assistant", "content": ""}, *ASK]
    assert chat(client, messages=[*ASK, echoed, *ASK]) == chat(client, messages=empty)
    with pytest.raises(openai.BadRequestError, match="content"):
        chat(client, messages=[{"role": "user", "content": None}])


def test_fields_that_are_off_change_nothing(client):
    plain = chat(client)
    off = {"tools": [], "stop": [], "logit_bias": {}, "modalities": ["text"], "functions": [], "tool_choice": "auto"}
    assert chat(client, **off) == plain
    assert chat(client, tools=TOOLS, tool_choice="none", parallel_tool_calls=False) == plain
    nulls = {"seed": None, "stream_options": None, "tools": None, "chat_template_kwargs": None, "min_tokens": None}
    assert chat(client, extra_body=nulls) == plain
    assert chat(client, extra_body={"stream_options": {"include_usage": None, "include_obfuscation": False}}) == plain


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": TOOLS}, "tools"),
        ({"tools": TOOLS, "tool_choice": "auto"}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"messages": [*ASK, {"role": "tool", "tool_call_id": "1", "content": "x"}]}, "messages[1]"),
        (
            {
                "messages": [
                    *ASK,
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
                ]
            },
            "messages[1]",
        ),
    ],
)
def test_tools_are_refused_in_one_true_line(client, change, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **change)
    assert caught.value.body["param"] == param
    assert "this server calls no" in caught.value.body["message"]
    assert "\n" not in caught.value.body["message"]


def test_bias_penalties_and_min_tokens_do_what_they_say(client):
    liked = chat(client, logit_bias={"40": 100}, logprobs=True)
    assert len({entry.token for entry in liked.logprobs.content}) == 1
    assert chat(client, logit_bias={"40": -100}) != liked
    plain = chat(client, max_tokens=60).message.content
    varied = chat(client, max_tokens=60, frequency_penalty=2, presence_penalty=2).message.content
    assert len(set(varied.split())) > len(set(plain.split()))
    # The end token always wins, but not before the fifth token.
    ends = {"logit_bias": {"10": 100}, "max_tokens": 9}
    at_once = chat(client, **ends, extra_body={"stop_token_ids": [10]})
    assert (at_once.message.content, at_once.finish_reason) == ("", "stop")
    late = chat(client, **ends, logprobs=True, extra_body={"stop_token_ids": [10], "min_tokens": 5})
    assert (len(late.logprobs.content), late.finish_reason) == (5, "stop")


def test_a_bound_chat_may_end_with_any_end_token(client):
    bound = chat(client, logit_bias={"10": 60}, extra_body={"regex": "[a-z ]{6}[a-z ]*", "stop_token_ids": [10]})
    assert bound.finish_reason == "stop"
    assert len(bound.message.content) >= 6


def test_the_last_message_is_continued(client):
    begun = [*ASK, {"role": "assistant", "content": "He"}]
    got = chat(client, messages=begun, extra_body={"continue_final_message": True, "add_generation_prompt": False})
    prompt = "user: How high is the water?\n\nassistant: He"
    text = client.completions.create(model="tide", prompt=prompt, max_tokens=12, temperature=0, stop=["\n\nuser:"])
    assert got.message.content == text.choices[0].text
    with pytest.raises(openai.BadRequestError, match="add_generation_prompt"):
        chat(client, messages=begun, extra_body={"continue_final_message": True, "add_generation_prompt": True})


def test_a_releases_generation_config_gives_the_defaults_and_the_end_tokens(checkpoint, tmp_path):
    folder = tmp_path / "tide"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).symlink_to(file)
    said = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "max_new_tokens": 7, "eos_token_id": [5, 9]}
    settings = folder / "generation_config.json"
    settings.unlink(missing_ok=True)
    settings.write_text(json.dumps(said))
    sampler = open_sampler(folder, 128)
    assert {5, 9, sampler.tokenizer.eot_id} <= set(sampler.config.eos_token_ids)
    tokenizer = sampler.tokenizer
    served = ServedModel(
        "tide",
        tokenizer,
        grammar_tokenizer(tokenizer),
        128,
        load_prompt_encoder(folder, tokenizer),
        sampling_defaults(folder),
    )
    (request,) = completion({"prompt": "The", "top_p": 1.0}, served, Limits()).requests
    assert (request.options.temperature, request.options.top_k, request.options.top_p) == (0.6, 20, 1.0)
    settings.write_text(json.dumps(said | {"do_sample": False}))
    assert sampling_defaults(folder) == {"temperature": 0.0}
    settings.write_text(json.dumps({"temperature": -1}))
    with pytest.raises(InputError, match="temperature"):
        sampling_defaults(folder)


def test_a_release_without_stage_tokens_is_served_as_it_is(tmp_path):
    folder = plain_checkpoint(tmp_path / "tide")
    with pytest.raises(InputError, match="--stage-tokens"):
        open_sampler(folder, 128)
    with running(folder, "--window=512", "--slots=2") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        assert chat(client, max_tokens=5).finish_reason in ("length", "stop")
        for end in ("2", "0"):  # the end of a message, and the end of a text
            for bound in ({}, {"regex": "[a-z ]*"}):
                ended = chat(client, logit_bias={end: 100}, extra_body=bound)
                assert (ended.message.content, ended.finish_reason) == ("", "stop")
        text = client.completions.create(model="tide", prompt="<|im_start|>user", max_tokens=1, temperature=0)
        theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("<|im_start|>user").ids
        assert text.usage.prompt_tokens == len(theirs)  # the name of a control token is that token
        shaped = chat(client, max_tokens=40, extra_body={"regex": "[0-9]{3}"})
        assert shaped.message.content.isdigit()
