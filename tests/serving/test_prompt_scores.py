"""What likelihood evaluations and writers of fiction ask a server for: echoed log-probabilities, samplers, grammars."""

import httpx
import jax
import jax.numpy as jnp
import numpy as np
import openai
import pytest

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained
from polaris_jax.trajectory import phrases

PROMPT = "The keeper of the tide book ruled his columns every Friday"


def complete(client, **how):
    return client.completions.create(**{"model": "tide", "prompt": PROMPT, "max_tokens": 3, "temperature": 0} | how)


@pytest.fixture(scope="module")
def direct(checkpoint):
    """``direct(tokens)``: log-probabilities ``[T, V]`` of a plain forward pass."""
    model = from_pretrained(str(checkpoint))

    def run(tokens):
        return np.asarray(jax.nn.log_softmax(model(jnp.asarray([tokens]))[0].astype(jnp.float32)))

    return run


@pytest.mark.parametrize("as_tokens", [False, True])
def test_echoed_logprobs_equal_a_direct_forward_pass(client, checkpoint, direct, as_tokens):
    tokenizer = load_tokenizer(checkpoint)
    tokens = [tokenizer.bos_id, *tokenizer.encode(PROMPT).tolist()]
    prompt = tokens if as_tokens else PROMPT
    # As lm-eval asks: one more token than the prompt, and whether each one was the most probable.
    choice = complete(client, prompt=prompt, max_tokens=1, logprobs=1, echo=True).choices[0]
    found = choice.logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(tokens) + 1
    assert (found.token_logprobs[0], found.top_logprobs[0]) == (None, None)
    assert "".join(found.tokens) == choice.text
    offsets = [len("".join(found.tokens[:n])) for n in range(len(found.tokens))]
    assert found.text_offset == offsets
    want = direct(tokens)
    np.testing.assert_allclose(found.token_logprobs[1:-1], want[np.arange(len(tokens) - 1), tokens[1:]], atol=1e-4)
    best = [max(top.values()) for top in found.top_logprobs[1:]]
    np.testing.assert_allclose(best, want.max(axis=-1), atol=1e-4)
    greedy = [own == most for own, most in zip(found.token_logprobs[1:], best, strict=True)]
    assert greedy == [*(want[:-1].argmax(axis=-1) == tokens[1:]).tolist(), True]


def test_streamed_echo_and_several_prompts(client):
    whole = complete(client, prompt=[PROMPT, "high water"], logprobs=2, echo=True)
    chunks = list(complete(client, prompt=[PROMPT, "high water"], logprobs=2, echo=True, stream=True))
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
        assert "".join(one.text for one in own) == choice.text
        parts = [one.logprobs for one in own if one.logprobs]
        assert [value for part in parts for value in part.token_logprobs] == choice.logprobs.token_logprobs
        assert [value for part in parts for value in part.text_offset] == choice.logprobs.text_offset


def test_a_prompt_can_be_scored_alone(client):
    both = complete(client, logprobs=0, echo=True)
    alone = complete(client, logprobs=0, echo=True, max_tokens=0)
    count = len(alone.choices[0].logprobs.tokens)
    assert alone.choices[0].text == PROMPT
    assert alone.usage.completion_tokens == 0
    assert alone.choices[0].finish_reason == "length"
    np.testing.assert_allclose(
        alone.choices[0].logprobs.token_logprobs[1:], both.choices[0].logprobs.token_logprobs[1:count], atol=1e-5
    )
    assert complete(client, echo=True, max_tokens=0).choices[0].text == PROMPT
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        complete(client, max_tokens=0)


def test_prompt_logprobs_in_the_form_of_vllm(client, server):
    choice = complete(client, extra_body={"prompt_logprobs": 2}).choices[0].model_dump()
    echoed = complete(client, logprobs=2, echo=True, max_tokens=1).choices[0].logprobs
    scored = choice["prompt_logprobs"]
    assert scored[0] is None
    assert len(scored) == len(echoed.tokens) - 1
    for place, entries in enumerate(scored[1:], 1):
        ranks = sorted(entry["rank"] for entry in entries.values())
        assert ranks[:2] == [1, 2]
        assert len(entries) == (2 if max(ranks) <= 2 else 3)
        named = [one["logprob"] for one in entries.values() if one["decoded_token"] == echoed.tokens[place]]
        assert any(value == pytest.approx(echoed.token_logprobs[place], abs=1e-5) for value in named)
    messages = [{"role": "user", "content": "How high is the water?"}]
    chat = {"model": "tide", "messages": messages, "max_tokens": 2, "prompt_logprobs": 0}
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=chat, timeout=60).json()
    assert reply["prompt_logprobs"][0] is None
    assert all(len(entries) == 1 for entries in reply["prompt_logprobs"][1:])
    with pytest.raises(openai.BadRequestError, match="stream"):
        complete(client, stream=True, extra_body={"prompt_logprobs": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"typical_p": 0.4},
        {"xtc_probability": 1.0, "xtc_threshold": 0.01},
        {"dry_multiplier": 4.0, "dry_base": 2, "dry_allowed_length": 1, "dry_sequence_breakers": []},
    ],
    ids=["typical", "xtc", "dry"],
)
def test_samplers_for_fiction_change_a_text_and_are_reproducible(client, fields):
    how = {"temperature": 1.0, "seed": 5, "max_tokens": 40, "prompt": "high water high water high water"}
    plain = complete(client, **how).choices[0].text
    changed, again = (complete(client, **how, extra_body=fields).choices[0].text for _ in range(2))
    assert changed == again != plain


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"typical_p": 0}, "typical_p"),
        ({"xtc_threshold": 2}, "xtc_threshold"),
        ({"dry_multiplier": -1}, "dry_multiplier"),
        ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers[0]"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"guided_grammar": "start: nowhere"}, "lark"),
    ],
)
def test_bad_values_are_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, extra_body=fields)
    assert caught.value.body["param"] == param


def test_a_text_keeps_to_a_grammar(client):
    grammar = phrases.vector()
    text = complete(client, max_tokens=200, extra_body={"guided_grammar": grammar.lark()}).choices[0].text
    assert grammar.matches(text)


def test_tokens_of_a_text_are_counted(server, checkpoint):
    tokenizer = load_tokenizer(checkpoint)
    ids = tokenizer.encode(PROMPT).tolist()
    post = lambda **body: httpx.post(f"{server.url}/tokenize", json=body, timeout=60)  # noqa: E731
    assert post(model="tide", prompt=PROMPT, add_special_tokens=False).json() == {
        "count": len(ids),
        "max_model_len": 1024,
        "tokens": ids,
    }
    assert post(prompt=PROMPT).json()["tokens"] == [tokenizer.bos_id, *ids]
    assert post(prompt="", add_special_tokens=False).json()["count"] == 0
    assert post(model="other", prompt="x").status_code == 404
