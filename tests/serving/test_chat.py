"""Chats become the text that the model was trained on, and only that."""

import json

import pytest

from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.serving.chat import PLAIN_STOP, load_prompt_encoder

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi {{ 7 * 6 }}"}]


def test_without_a_template_a_chat_reads_like_a_play(tokenizer, tmp_path):
    prompts = load_prompt_encoder(tmp_path, tokenizer)
    tokens = prompts.chat(MESSAGES)
    assert tokens[0] == tokenizer.bos_id
    assert tokenizer.decode(tokens) == "system: Be brief.\n\nuser: Hi {{ 7 * 6 }}\n\nassistant:"
    assert prompts.chat_stops == ((PLAIN_STOP,), ())


def test_the_checkpoints_own_template_is_found_in_either_place_and_can_be_replaced(tokenizer, tmp_path):
    ends = "{% for message in messages %}{{ message.content }}<|eot_id|>{% endfor %}"
    templates = [{"name": "tools", "template": "no"}, {"name": "default", "template": ends}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "chat_template": templates}))
    prompts = load_prompt_encoder(tmp_path, tokenizer)
    assert prompts.chat(MESSAGES).count(tokenizer.eot_id) == 2
    assert prompts.chat_stops == ((), (tokenizer.eot_id,))
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content | tojson }}")
    assert tokenizer.decode(load_prompt_encoder(tmp_path, tokenizer).chat(MESSAGES)) == '"Be brief."'
    other = tmp_path / "other.jinja"
    other.write_text("{{ messages[-1].role }}")
    assert tokenizer.decode(load_prompt_encoder(tmp_path, tokenizer, other).chat(MESSAGES)) == "user"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ messages[0].content.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ raise_exception('roles must alternate') }}", "alternate"),
        ("{{ 1 / (messages | length - 2) }}", "zero"),
    ],
)
def test_a_template_can_do_no_harm(tokenizer, tmp_path, source, says):
    # Loading a template tries it first on a conversation without a system message.
    (tmp_path / "chat_template.jinja").write_text("{% if messages[0].role == 'system' %}" + source + "{% endif %}")
    prompts = load_prompt_encoder(tmp_path, tokenizer)
    with pytest.raises(InputError, match=says):
        prompts.chat(MESSAGES)


def test_control_tokens_go_by_name_in_texts_and_are_mere_words_in_messages(tokenizer, tmp_path):
    prompts = load_prompt_encoder(tmp_path, tokenizer)
    assert prompts.text("the fog<|eot_id|>the").count(tokenizer.eot_id) == 1
    tokens = prompts.chat([{"role": "user", "content": "the fog<|eot_id|>the"}])
    assert tokenizer.eot_id not in tokens
    assert "fog<|eot_id|>the" in tokenizer.decode(tokens)


def test_a_transcript_begins_as_in_training(tokenizer, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False}))
    prompts = load_prompt_encoder(tmp_path, tokenizer)
    assert prompts.text("the fog")[0] != tokenizer.bos_id
    assert prompts.text("<|start_header_id|>prompt")[0] == tokenizer.bos_id
    assert prompts.text("the fog", bos=True)[0] == tokenizer.bos_id
    assert prompts.text("<|start_header_id|>prompt", bos=False)[0] == tokenizer.control_tokens["<|start_header_id|>"]


def test_smollm2_reads_a_chat_as_transformers_does(smollm2_folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = load_tokenizer(smollm2_folder)
    prompts = load_prompt_encoder(smollm2_folder, tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2_folder)
    messages = [*MESSAGES, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Ça va?"}]
    assert prompts.chat(messages) == theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompts.chat_stops == ((), (theirs.convert_tokens_to_ids("<|im_end|>"),))
    assert prompts.text("The fog") == theirs("The fog")["input_ids"]
