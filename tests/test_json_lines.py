"""JSON lines: one parser; a strict reader on top of it names file and line."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.json_lines import InvalidLine, parse, read_objects

# U+2028 ends a line for str.splitlines, but not for JSON lines.
SEPARATOR = '{"text": "a\u2028b"}'


def test_every_line_that_is_not_blank_has_its_number_and_value():
    found = list(parse(f'{SEPARATOR}\n\n  \n[1]\n{{broken\n"text"'))
    assert [number for number, _ in found] == [1, 4, 5, 6]
    assert [value for _, value in found if not isinstance(value, InvalidLine)] == [{"text": "a\u2028b"}, [1], "text"]
    assert isinstance(found[2][1], InvalidLine)


def test_brackets_without_end_are_an_invalid_line():
    [(_, value)] = parse("[" * 100_000)
    assert isinstance(value, InvalidLine)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n{broken', "rows.jsonl line 2.*is not JSON"),
        (b'{"a": 1}\n\n[1]', "rows.jsonl line 3.*is not a JSON object"),
        (b'{"a": 1}\n{"b": "caf\xe9"}', "rows.jsonl line 2.*is not UTF-8"),
    ],
)
def test_a_strict_reader_names_file_and_line(content, told):
    with pytest.raises(InputError, match=told):
        list(read_objects(content, "rows.jsonl"))


def test_a_byte_order_mark_is_skipped():
    assert list(read_objects(b'\xef\xbb\xbf{"a": 1}\n', "rows.jsonl")) == [(1, {"a": 1})]
