"""Annotators and judges reach a checkpoint of ours like any other server."""

import json

import pytest

pytest.importorskip("openai")

from polaris_jax.llm import ClientSpec, Request, open_client

SCHEMA = {
    "type": "object",
    "required": ["winner"],
    "additionalProperties": False,
    "properties": {"winner": {"enum": ["first", "second", "tie"]}},
}


def test_a_judge_gets_an_answer_of_its_schema(server, tmp_path):
    spec = ClientSpec("openai", "tide", base_url=f"{server.url}/v1", cache=str(tmp_path), attempts=1)
    request = Request((("system", "You judge."), ("user", "Which one?")), json.dumps(SCHEMA), max_tokens=40, seed=1)
    with open_client(spec) as client:
        reply = client.ask(request)
        assert reply.data["winner"] in ("first", "second", "tie")
        assert client.ask(request).cached
