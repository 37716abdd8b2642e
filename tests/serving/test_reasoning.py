"""Thoughts are taken out of a reply, in whatever chunks it comes, and only at its beginning."""

import json
import random

import httpx
import pytest
from serving_process import plain_checkpoint, running

from polaris_jax.serving.reasoning import TAGS, ReasoningSplitter, find_tags

THINK = TAGS[0]


def split(text, rng=None, inside=False, tags=THINK):
    """``(thoughts, reply)`` of a text that comes in random pieces."""
    state, at = ReasoningSplitter(tags, inside).begin(), 0
    thoughts = reply = ""
    while at < len(text):
        size = len(text) if rng is None else rng.randint(1, 5)
        more = state.push(text[at : at + size], last=at + size >= len(text))
        thoughts, reply, at = thoughts + more[0], reply + more[1], at + size
    return thoughts, reply


CASES = [
    ("<think>\nHm.\n</think>\n\nYes.", False, ("Hm.", "Yes.")),
    ("\n<think>Hm.</think>Yes.", False, ("Hm.", "Yes.")),
    ("Hm.\n\n</think>\n\nYes.", True, ("Hm.", "Yes.")),
    ("Yes, <think>no</think>.", False, ("", "Yes, <think>no</think>.")),
    ("<thin air", False, ("", "<thin air")),
    ("<think>never ends </thin", False, ("never ends </thin", "")),
    ("<think></think>\n\nYes.", False, ("", "Yes.")),
    ("", True, ("", "")),
    ("Yes.", False, ("", "Yes.")),
    ("<think>a\n\nb</think>\n", False, ("a\n\nb", "")),
]


@pytest.mark.parametrize(("text", "inside", "want"), CASES)
def test_a_reply_is_split_the_same_in_any_pieces(text, inside, want):
    assert split(text, inside=inside) == want
    for seed in range(30):
        assert split(text, random.Random(seed), inside) == want


def test_tags_are_known_by_the_template():
    assert find_tags("{{ m.content.split('</think>')[-1] }}") == THINK
    assert find_tags("[THINK]{{ x }}[/THINK]") == TAGS[1]
    assert find_tags("{{ m.content }}") is None


def test_a_chat_whose_template_opens_the_thoughts_answers_in_two_fields(tmp_path):
    folder = plain_checkpoint(tmp_path / "thinker")
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.reasoning_content or '' }}{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}{# </think> #}"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    with running(folder, "--window=512", "--slots=1") as server:
        ask = {"model": "thinker", "messages": [{"role": "user", "content": "Well?"}], "max_tokens": 60}

        def post(**how):
            return httpx.post(f"{server.url}/v1/chat/completions", json=ask | how, timeout=120)

        bound = {"regex": "(He waits\\.)\n</think>\n\nSaturdays"}
        message = post(**bound).json()["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("He waits.", "Saturdays")
        joined = post(**bound, separate_reasoning=False).json()["choices"][0]["message"]
        assert joined["content"] == "He waits.\n</think>\n\nSaturdays"
        assert "reasoning_content" not in joined
        lines = post(**bound, stream=True).text.splitlines()
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "He waits."
        assert "".join(delta.get("content", "") for delta in deltas) == "Saturdays"
        again = post(messages=[*ask["messages"], message, *ask["messages"]], max_tokens=1)
        assert again.status_code == 200, again.text
