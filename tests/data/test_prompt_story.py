"""Prompts with human stories: the published schema in all its spellings, and mistakes named by file, row and field."""

import json

import pytest

from polaris_jax.data.prompt_story import PromptStory, read_prompt_stories, write_prompt_stories
from polaris_jax.errors import InputError

ROWS = [
    PromptStory("a", "Write. 900 words long.", 900, "Once.", "Plan.", "somebody: something"),
    PromptStory("b", "Write more.", system="Be brief."),
]
ROW = {"prompt": "p", "story": "s", "ground_truth_reasoning": "r"}


def written(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_what_is_written_is_read(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    rows = [ROWS[0]] if name.endswith("parquet") else ROWS
    write_prompt_stories(str(tmp_path / name), rows)
    assert read_prompt_stories(str(tmp_path / name)) == rows


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"uid": "a", "prompt": "Write.", "target_word_count": 1500}, PromptStory("a", "Write.", 1500)),
        (
            {"prompt": [{"role": "user", "content": "Write."}], "answer": "Once."},
            PromptStory("row-1", "Write.", story="Once."),
        ),
        (
            {
                "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Write."}],
                "reward_model": {"ground_truth": "Once.", "ground_truth_reasoning": "Plan."},
                "data_source": "d",
            },
            PromptStory("row-1", "Write.", story="Once.", reasoning="Plan.", source="d", system="S"),
        ),
        (
            {"prompt": [{"role": "user", "content": "templated"}], "extra_info": {"prompt": "Write."}},
            PromptStory("row-1", "Write."),
        ),
    ],
)
def test_spellings_of_the_schema(tmp_path, row, expected):
    assert read_prompt_stories(written(tmp_path, row)) == [expected]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "rows.jsonl line 2"),
        ({"story": "s"}, "rows.jsonl line 2: prompt=None"),
        ({"prompt": []}, "rows.jsonl line 2: prompt"),
        ({"prompt": [{"role": "user"}]}, "line 2: prompt"),
        ({"prompt": "p"}, "line 2: story=None: is needed"),
        ({"prompt": "p", "story": "s"}, "line 2: ground_truth_reasoning=None"),
        ({"prompt": "p", "story": 3, "ground_truth_reasoning": "r"}, "line 2: story=3: must be text"),
        ({"prompt": "p", "story": "<think>x</think>s", "ground_truth_reasoning": "r"}, "line 2: story"),
        (ROW | {"target_word_count": 0}, "target_word_count=0"),
        ("[" * 100_000, "line 2"),
        (ROW | {"target_word_count": float("nan")}, "target_word_count=nan"),
        (ROW | {"target_word_count": float("inf")}, "target_word_count=inf"),
        (ROW | {"target_word_count": 10.5}, "target_word_count=10.5"),
        ({"uid": "x", "prompt": "p", "story": "s", "ground_truth_reasoning": "r"}, "uid='x': is the uid of line 1 too"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    good = {"uid": "x", "prompt": "p", "story": "s", "ground_truth_reasoning": "r"}
    with pytest.raises(InputError) as caught:
        read_prompt_stories(written(tmp_path, good, row), stories=True, reasoning=True)
    assert message in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_prompt_stories(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="no rows"):
        read_prompt_stories(written(tmp_path))
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_prompt_stories(str(tmp_path / "bad.parquet"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "p"}\n{"prompt": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"line 2.*not UTF-8"):
        read_prompt_stories(str(tmp_path / "latin.jsonl"))
    with pytest.raises(InputError, match="ends in"):
        write_prompt_stories(str(tmp_path / "rows.txt"), ROWS)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"chosen": "b", "rejected": "c"}, "data.kind=pairs"),
        ({"messages": [{"role": "user", "content": "a"}]}, "polaris build --data"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "polaris build --data"),
    ],
)
def test_rows_of_another_format_are_refused_and_told_where_they_belong(tmp_path, more, said):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "a"} | more) + "\n")
    with pytest.raises(InputError, match=said):
        read_prompt_stories(str(tmp_path / "rows.jsonl"))


def test_fields_that_are_not_read_are_named(tmp_path, caplog):
    rows = [{"prompt": "a", "story": "b", "mood": "grey"}, {"prompt": "c", "story": "d", "mood": "blue", "n": None}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read_prompt_stories(str(tmp_path / "rows.jsonl"))
    assert "rows.jsonl: fields that are not read: mood (2 rows)" in caplog.text
