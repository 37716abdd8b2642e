"""An answer holds one value that is valid under its schema, or it is refused."""

import json

import pytest

from polaris_jax.llm.structured import is_strict, read_json, with_instruction

SCHEMA = json.dumps({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]})


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' \n{"a": 1}\n',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}```',
        'Here it is:\n```json\n{"a": 1}\n```\n',
        '<think>{"a": 2}?\n</think>\n{"a": 1}',
        'it says {"a": 2}</think>{"a": 1}',
        '<think>no</think>```json\n{"a": 1}\n```',
        'The answer is {"a": 1}.',
        '{"a": "1"}',
        'Not {"b": 2} but {"a": 1}',
    ],
)
def test_what_surrounds_the_value_is_taken_away(text):
    assert read_json(text, SCHEMA) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a = 1",
        '{"a": 1',
        '{"a": "one"}',
        "{}",
        '{"a": NaN}',
        '{"a": 1} {"a": 2}',
        '<think>{"a": 1}',
        '```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```',
        'The answer is {"a": "one"}.',
    ],
)
def test_nothing_is_completed_or_chosen(text):
    with pytest.raises(ValueError, match=r".+") as wrong:
        read_json(text, SCHEMA)
    assert "\n" not in str(wrong.value)


def test_tags_and_fences_inside_a_value_stay():
    text = json.dumps({"a": 1, "story": "<think>Hm.</think> ```\nx\n```"})
    assert read_json(text, SCHEMA)["story"] == "<think>Hm.</think> ```\nx\n```"


def test_the_violation_is_named():
    with pytest.raises(ValueError, match=r"^\$\.a: 'one' is not of type 'number'$"):
        read_json('{"a": "one"}', SCHEMA)


def test_strict_schemas_are_closed_at_every_depth():
    inner = {"type": "object", "properties": {"b": {}}, "required": ["b"], "additionalProperties": False}
    closed = {**inner, "properties": {"b": {"type": "array", "items": inner}}}
    assert is_strict(closed)
    assert not is_strict({**inner, "properties": {"b": {"type": "array", "items": {**inner, "required": []}}}})
    assert not is_strict(json.loads(SCHEMA))


def test_the_instruction_stands_in_the_last_word_of_the_user():
    told = with_instruction((("user", "One."), ("assistant", "Two."), ("user", "Three.")), SCHEMA)
    assert [SCHEMA in content for _, content in told] == [False, False, True]
    assert with_instruction((("system", "Be brief."),), SCHEMA)[-1][0] == "user"
