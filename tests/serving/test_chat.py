"""Chats become the text that the model was trained on, and only that."""

import json

import pytest

from polaris_jax.data import load_tokenizer, train_sentencepiece
from polaris_jax.errors import InputError
from polaris_jax.serving.chat import ChatTemplate, adds_bos, encode, read_template

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi {{ 7 * 6 }}"}]


def test_without_a_template_a_chat_reads_like_a_play(tmp_path):
    template = read_template(tmp_path)
    assert template.plain
    assert template.render(MESSAGES) == "system: Be brief.\n\nuser: Hi {{ 7 * 6 }}\n\nassistant:"
    assert adds_bos(tmp_path)


def test_the_checkpoints_own_template_is_found_in_either_place(tmp_path):
    templates = [{"name": "tools", "template": "no"}, {"name": "default", "template": "{{ bos_token }}A"}]
    config = {"bos_token": {"content": "<s>"}, "add_bos_token": False, "chat_template": templates}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_template(tmp_path).render(MESSAGES) == "<s>A"
    assert not adds_bos(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content | tojson }}")
    assert read_template(tmp_path).render(MESSAGES) == '"Be brief."'


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"), ("{{ raise_exception('roles must alternate') }}", "alternate"),
        ("{{ messages[9].content }}", "template"), ("{{ 1 / 0 }}", "zero"), ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_a_template_can_do_no_harm(source, says):
    with pytest.raises(InputError, match=says):
        ChatTemplate(source, plain=False).render(MESSAGES)


def test_what_is_no_template_is_refused_at_the_start(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(InputError, match="no template"):
        read_template(tmp_path)


def test_smollm2_reads_a_chat_as_transformers_does(smollm2_folder):
    transformers = pytest.importorskip("transformers")
    tokenizer, template = load_tokenizer(smollm2_folder), read_template(smollm2_folder)
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2_folder)
    messages = [*MESSAGES, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Ça va?"}]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode(tokenizer, template.render(messages)) == expected
    assert template.stop_tokens(tokenizer) == (theirs.convert_tokens_to_ids("<|im_end|>"),)
    assert not adds_bos(smollm2_folder)


def test_a_vocabulary_of_ones_own_has_its_control_tokens_by_name():
    tokenizer = train_sentencepiece(["the fog lay over the water and the boats\n"] * 9, 280)
    tokens = encode(tokenizer, "the fog<|eot_id|>the")
    assert tokens.count(tokenizer.eot_id) == 1
    assert ChatTemplate().stop_tokens(tokenizer) == ()
