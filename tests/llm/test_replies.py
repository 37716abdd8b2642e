"""One reader for every model's reply: what a person would read as JSON is read, and nothing is guessed."""

import pytest

from polaris_jax.llm.replies import MAX_DEPTH, UnreadableReply, clean_text, read_number, read_value, read_values

SCORES = {"plot": 7, "voice": "sure"}


@pytest.mark.parametrize(
    "text",
    [
        '{"plot": 7, "voice": "sure"}',
        'Here it is: {"plot": 7, "voice": "sure"}',
        '{"plot": 7, "voice": "sure"}\nLet me know if you need more.',
        'Before.\n```json\n{"plot": 7, "voice": "sure"}\n```\nAfter.',
        '```\n{"plot": 7, "voice": "sure"}',
        '<think>{"plot": 1}</think>{"plot": 7, "voice": "sure"}',
        '{"plot": 7, "voice": "sure",}',
        "{'plot': 7, 'voice': 'sure'}",
        "{“plot”: 7, “voice”: “sure”}",
        "｛＂plot＂：７，＂voice＂：＂sure＂｝",
        "｛“plot”： 7、 “voice”： “sure”｝",
        '{"plot": +7, "voice": "sure"}',
        'I weigh {plot} and [voice]: {"plot": 7, "voice": "sure"} [done]',
        'I use { to open: {"plot": 7, "voice": "sure"}',
        'Draft: {"plot": 7, "voice": "sure"}, so: {"voice": "sure", "plot": 7}',
        '[Scores: {"plot": 7, "voice": "sure"}]',
    ],
)
def test_one_value_in_many_written_forms(text):
    assert read_value(text) == SCORES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"said": "He said "no" loudly", "n": 1}', {"said": 'He said "no" loudly', "n": 1}),
        ('{"said": "a \\"quoted\\" word"}', {"said": 'a "quoted" word'}),
        ('{"said": "two\nlines"}', {"said": "two\nlines"}),
        ('{"said": "it\\\'s"}', {"said": "it's"}),
        ('{"a": True, "b": None, "c": "True"}', {"a": True, "b": None, "c": "True"}),
        ('{"plot": 7/10}', {"plot": "7/10"}),
        ('{"half": "\\ud83d", "whole": "\\ud83d\\ude00"}', {"half": "\ufffd", "whole": "😀"}),
        ('{"tags": "<think>[{</think>"}', {"tags": "<think>[{</think>"}),
        ("[1, 2]", [1, 2]),
        ("```json\n7\n```", 7),
        ("{}", {}),
    ],
)
def test_values(text, value):
    assert read_value(text) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ('<think>{"plot": 7}', "empty"),
        ("A fine story.", "invalid_json"),
        ("[[[", "invalid_json"),
        ("[" * 4000, "invalid_json"),
        ('{"a":' * 3000, "invalid_json"),
        ("[" * 4000 + "]" * 4000, "invalid_json"),
        ('{"plot": 7', "invalid_json"),
        ('{"plot": 7, "voice": "su', "invalid_json"),
        ('[{"plot": 7}, {"plot": 3', "invalid_json"),
        ('{"plot": 7} and once more {"plot": 7, "voi', "invalid_json"),
        ('{"plot": {"of": 10}, oops}', "invalid_json"),
        ('{"plot": NaN}', "invalid_json"),
        ('{"plot": 1e999}', "invalid_json"),
        ('{"plot": ' + "1" * 5000 + "}", "invalid_json"),
        ('{"plot": 7, "plot": 3}', "ambiguous"),
        ('{"plot": 7} or rather {"plot": 3}', "ambiguous"),
        ('```json\n{"plot": 7}\n```\n```json\n{"plot": 3}\n```', "ambiguous"),
    ],
)
def test_what_is_no_value_says_why_in_one_line(text, kind):
    with pytest.raises(UnreadableReply) as caught:
        read_value(text)
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)


def test_nesting_is_bounded_and_brackets_in_strings_are_not_nesting():
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert len(read_values(deep)) == 1
    with pytest.raises(UnreadableReply, match="deeper"):
        read_values(f"[{deep}]")
    assert read_value('{"story": "' + "[" * 4000 + '"}') == {"story": "[" * 4000}


def test_the_caller_says_what_fits():
    def with_plot(value):
        if not isinstance(value, dict) or "plot" not in value:
            raise ValueError("no plot")
        return value["plot"]

    assert read_value('As in [1], {"voice": 3}: {"plot": 7}', with_plot) == 7
    with pytest.raises(ValueError, match="no plot"):
        read_value('{"voice": 3}', with_plot)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (7, 7),
        (7.5, 7.5),
        ("7", 7),
        (" 7.5 ", 7.5),
        ("7,5", 7.5),
        ("７", 7),
        ("**7**", 7),
        ("7/10", 7),
        ("7 / 10", 7),
        ("7/20", None),
        (True, None),
        (None, None),
        ("seven", None),
        ("7 of 10", None),
        ("1e999", None),
        (10**400, None),
        (float("nan"), None),
        ("9" * 400, None),
        ([7], None),
    ],
)
def test_numbers_may_be_text_on_the_scale_that_is_asked_for(written, number):
    assert read_number(written, out_of=10) == number


def test_a_share_needs_a_scale():
    assert read_number("7/10") is None


def test_text_can_always_be_written():
    assert clean_text("\ud800a\udfff") == "\ufffda\ufffd"
    assert clean_text("\ud83d\ude00") == "😀"
