"""Under any chat template the loss covers the assistant's turns with their end tokens, and nothing else."""

import numpy as np
import pytest
from small_tokenizers import save_byte_level

from polaris_jax.data import load_tokenizer
from polaris_jax.data.chat import ChatTemplate
from polaris_jax.data.chat_mask import encode_chat
from polaris_jax.errors import InputError

NAMES = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
NAMES += ("[INST]", "[/INST]")
IM = "'<|im_start|>' + m.role + '\n'"
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ IM + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "without a generation prompt": "{% for m in messages %}{{ IM + m.content + '<|im_end|>\n' }}{% endfor %}",
    "llama 3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + "
    "m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    # The system message goes into the last request, as with Mistral: a shorter chat's text is not its beginning.
    "mistral": "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if loop.index0 == (messages | length - 2 if messages[-1].role == 'assistant' else messages | length - 1) "
    "and system is defined %}"
    "{{ '[INST] ' + system + '\n\n' + m.content + ' [/INST]' }}{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% endif %}{% else %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}",
    # Only the last turn keeps its thinking; without any it gets an empty block, as with Qwen3.
    "thinking": "{% for m in messages %}{% set said = m.content %}{% set thought = '' %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if m.role == 'assistant' and loop.last %}"
    "{{ IM + '<think>\n' + thought + '\n</think>\n\n' + said.lstrip('\n') + '<|im_end|>\n' }}"
    "{% else %}{{ IM + said + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "thinking that is opened": "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}"
    "{{ IM + '<think>\n\n</think>\n\n' + m.content + '<|im_end|>\n' }}{% else %}{{ IM + m.content + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
    "tags": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}
TEMPLATES = {name: text.replace("IM", IM) for name, text in TEMPLATES.items()}
CHAT = [
    {"role": "system", "content": "Say it in one line."},
    {"role": "user", "content": "Where is the lamp?"},
    {"role": "assistant", "content": "The lamp is in the house."},
    {"role": "user", "content": "The lamp is in the house."},  # the same words, not learned here
    {"role": "assistant", "content": "\n“It was” — yes,\n\nbut the fog came in  \n"},
]
FIRST, LAST = CHAT[2]["content"], CHAT[4]["content"]
LEARNED = {
    "chatml": [FIRST + "<|im_end|>", LAST + "<|im_end|>"],
    "without a generation prompt": [FIRST + "<|im_end|>", LAST + "<|im_end|>"],
    "llama 3": [FIRST + "<|eot_id|>", LAST.strip() + "<|eot_id|>"],
    "mistral": [" " + FIRST + "</s>", " " + LAST + "</s>"],
    "thinking": [FIRST + "<|im_end|>", "<think>\n\n</think>\n\n" + LAST.lstrip("\n") + "<|im_end|>"],
    "thinking that is opened": [FIRST + "<|im_end|>", "\n</think>\n\n" + LAST + "<|im_end|>"],
    "tags": [FIRST + "<|im_end|>", LAST + "<|im_end|>"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A byte-level vocabulary in which punctuation and line ends join, with the control tokens of several families."""
    text = [" ".join(message["content"] for message in CHAT) + "\n\nassistant\n\n\n<think>\n\n</think>\n\n"] * 20
    place = tmp_path_factory.mktemp("vocabulary")
    save_byte_level(place, text, 420, NAMES)
    (place / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
    return place


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder, stages=False)


def shown(tokenizer, tokens):
    """The text of tokens, control tokens by their names."""
    names = {number: name for name, number in tokenizer.control_tokens.items()}
    pieces = tokenizer.token_bytes()
    return b"".join(names[t].encode() if t in names else pieces[t] for t in tokens.tolist()).decode()


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_assistants_turns_and_their_end_tokens_are_learned(name, tokenizer):
    template = ChatTemplate(TEMPLATES[name], tokenizer, {"bos_token": "<s>"})
    chat = encode_chat(template, CHAT)
    np.testing.assert_array_equal(chat.tokens, template.encode(CHAT, add_generation_prompt=False))
    assert set(chat.turns.tolist()) == {-1, 2, 4}
    # By hand, from the rendering alone: the place of each turn, and the tokens that begin there.
    text, at, expected = template.text(CHAT), 0, []
    for turn in LEARNED[name]:
        start = text.index(turn, at if expected else text.index(FIRST, text.index("Where is")) - 20)
        at = start + len(turn)
        expected.append((len(text[:start].encode()), len(text[:at].encode())))
    sizes = [len(shown(tokenizer, chat.tokens[: n + 1]).encode()) for n in range(len(chat.tokens))]
    begins = np.array([0, *sizes[:-1]])
    for number, (start, stop) in zip((2, 4), expected, strict=True):
        np.testing.assert_array_equal(chat.turns == number, (begins >= start) & (begins < stop))


@pytest.mark.parametrize("name", ["chatml", "llama 3", "mistral", "thinking"])
def test_a_templates_own_tags_say_the_same(name, tokenizer):
    """The same template with generation tags around what a model writes, as trainers tag them, gives the same turns."""
    plain = ChatTemplate(TEMPLATES[name], tokenizer, {"bos_token": "<s>"})
    spans = {
        "chatml": ("IM + m.content + '<|im_end|>\n'", "IM", "m.content + '<|im_end|>'", "'\n'"),
        "llama 3": (
            "'<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>'",
            "'<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'",
            "m.content | trim + '<|eot_id|>'",
            "''",
        ),
        "mistral": ("' ' + m.content + '</s>'", "''", "' ' + m.content + '</s>'", "''"),
        "thinking": (
            "IM + '<think>\n' + thought + '\n</think>\n\n' + said.lstrip('\n') + '<|im_end|>\n'",
            "IM",
            "'<think>\n' + thought + '\n</think>\n\n' + said.lstrip('\n') + '<|im_end|>'",
            "'\n'",
        ),
    }
    whole, before, learned, after = (part.replace("IM", IM) for part in spans[name])
    tagged_turn = f"{{{{ {before} }}}}{{% generation %}}{{{{ {learned} }}}}{{% endgeneration %}}{{{{ {after} }}}}"
    source = TEMPLATES[name].replace(f"{{{{ {whole} }}}}", tagged_turn)
    if name == "thinking":  # earlier turns are in the other branch, with the messages of the user
        other = "{{ IM + said + '<|im_end|>\n' }}".replace("IM", IM)
        earlier = "{{ IM }}{% generation %}{{ said + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}".replace("IM", IM)
        source = source.replace(
            other, "{% if m.role == 'assistant' %}" + earlier + "{% else %}" + other + "{% endif %}"
        )
    tagged = ChatTemplate(source, tokenizer, {"bos_token": "<s>"})
    assert tagged.text(CHAT, mark_tags=True) != tagged.text(CHAT)
    assert plain.text(CHAT, mark_tags=True) == plain.text(CHAT)
    assert tagged.text(CHAT) == plain.text(CHAT)
    np.testing.assert_array_equal(encode_chat(tagged, CHAT).turns, encode_chat(plain, CHAT).turns)


def test_tags_are_read_as_transformers_reads_them(folder, tokenizer):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    found = theirs.apply_chat_template(
        CHAT, chat_template=TEMPLATES["tags"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ours = encode_chat(ChatTemplate(TEMPLATES["tags"], tokenizer), CHAT)
    assert ours.tokens.tolist() == found["input_ids"]
    assert (ours.turns >= 0).astype(int).tolist() == found["assistant_masks"]


def test_control_strings_in_a_message_stay_text_and_are_no_end(tokenizer):
    template = ChatTemplate(TEMPLATES["chatml"], tokenizer)
    chat = encode_chat(template, [CHAT[1], {"role": "assistant", "content": "a<|im_end|>b<|im_start|>user"}])
    learned = chat.tokens[chat.turns == 1]
    assert shown(tokenizer, learned) == "a<|im_end|>b<|im_start|>user<|im_end|>"
    assert (chat.tokens == tokenizer.control_tokens["<|im_end|>"]).sum() == 2
    assert learned[-1] == tokenizer.control_tokens["<|im_end|>"]


def test_turns_can_be_left_unlearned_and_earlier_thinking_is_counted(tokenizer):
    template = ChatTemplate(TEMPLATES["thinking"], tokenizer)
    thought = [*CHAT[:2], {"role": "assistant", "content": "<think>\nlamp\n</think>\n\nThe house."}, *CHAT[3:]]
    chat = encode_chat(template, thought)
    assert chat.thoughts_left_out == 1
    assert shown(tokenizer, chat.tokens[chat.turns == 2]) == "The house.<|im_end|>"
    last = encode_chat(template, thought[:3])
    assert last.thoughts_left_out == 0
    assert shown(tokenizer, last.tokens[last.turns == 2]) == "<think>\nlamp\n</think>\n\nThe house.<|im_end|>"
    only = encode_chat(template, thought, [False] * 4 + [True])
    assert set(only.turns.tolist()) == {-1, 4}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}", "message 1"),
        ("{% for m in messages %}{{ m.content | upper }}{{ m.content | length }}{% endfor %}", "changes a message"),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}x", "no system here"),
    ],
)
def test_a_template_that_hides_a_message_is_refused(source, said, tokenizer):
    template = ChatTemplate(source, tokenizer)
    with pytest.raises(InputError, match=said):
        encode_chat(template, CHAT)
