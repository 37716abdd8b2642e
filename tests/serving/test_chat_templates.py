"""Templates run as in transformers: its functions, tags and variables, and messages that are continued."""

import datetime

import pytest

from polaris_jax.data.chat import ChatTemplate
from polaris_jax.errors import InputError
from polaris_jax.serving.chat import load_prompt_encoder

ASK = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Well, <|eot_id|> "}]
SOURCES = {
    "date": "{{ strftime_now('%Y-%m-%d') }}{{ messages[0].content }}",
    "generation": "{% for m in messages %}\n{% generation %}\n{{ m.content }}\n{% endgeneration %}\n{% endfor %}",
    "loop": "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "tools": "{% if tools is not none %}tools!{% endif %}{{ messages | tojson(indent=2) }}",
    "json": "{{ messages | tojson(ensure_ascii=True, separators=(',', ':'), sort_keys=True) }}",
    "switch": "{% if thinking is defined and not thinking %}no{% else %}yes{% endif %}{{ messages[-1]['content'] }}",
    "trims": "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}",
}


@pytest.mark.parametrize(
    ("name", "continued"),
    [(name, False) for name in SOURCES] + [(name, True) for name in ("generation", "switch", "trims")],
)
def test_a_template_renders_as_in_transformers(tokenizer, name, continued):
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    ask = [dict(one) for one in ASK]
    variables = {"thinking": False}
    theirs, _ = transformers.render_jinja_template(
        [ask], chat_template=SOURCES[name], continue_final_message=continued, **variables
    )
    ours = ChatTemplate(SOURCES[name], tokenizer).text(ASK, continue_final_message=continued, **variables)
    assert ours == theirs[0]
    if name == "date":
        assert ours.startswith(f"{datetime.date.today():%Y-}")


def test_variables_reach_the_template_as_mere_words(tokenizer, tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{{ said }}{{ deep.a[0] if deep else '' }}<|eot_id|>")
    prompts = load_prompt_encoder(tmp_path, tokenizer)
    tokens = prompts.chat(ASK, variables={"said": "the <|eot_id|>", "deep": {"a": ["<|eot_id|>"]}})
    assert tokens.count(tokenizer.eot_id) == 1
    assert tokenizer.decode(tokens) == "the <|eot_id|><|eot_id|><|eot_id|>"
    for name in ("messages", "add_generation_prompt", "continue_final_message", "tools", "self"):
        with pytest.raises(InputError, match=name):
            prompts.chat(ASK, variables={name: 1})


def test_a_last_message_is_continued_and_its_control_strings_stay_text(tokenizer, tmp_path):
    prompts = load_prompt_encoder(tmp_path, tokenizer)  # the plain template
    tokens = prompts.chat(ASK, continue_final_message=True)
    assert tokenizer.eot_id not in tokens
    assert tokenizer.decode(tokens) == "user: Hi.\n\nassistant: Well, <|eot_id|> "
    assert tokenizer.decode(prompts.chat(ASK[:1], add_generation_prompt=False)) == "user: Hi.\n\n"
    with pytest.raises(InputError, match="add_generation_prompt"):
        prompts.chat(ASK, continue_final_message=True, add_generation_prompt=True)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(InputError, match="leaves the last message out"):
        load_prompt_encoder(tmp_path, tokenizer).chat(ASK, continue_final_message=True)
