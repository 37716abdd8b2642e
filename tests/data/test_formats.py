"""A sample of every format is read whole; its broken twin is refused with the line; no field is dropped silently.

``formats/good`` and ``formats/broken`` hold small files made for these tests (the manuscripts by pandoc from one text).
"""

import json
import shutil
import sys
from pathlib import Path

import pytest

from polaris_jax.data.formats import (
    Chat,
    Pair,
    PlainDocument,
    PromptCompletion,
    Source,
    Transcript,
    find_files,
    format_of,
    read_file,
)
from polaris_jax.errors import InputError

SAMPLES = Path(__file__).parent / "formats"
WEIR = "Nobody had asked the water to be quiet, and it was not."
# File: its format, its rows, the unused fields, and the content of a row.
GOOD = {
    "trajectory.txt": ("trajectories", 1, set(), lambda r: isinstance(r, Transcript) and "## Book Title" in r.text),
    "sharegpt.jsonl": ("sharegpt", 2, {"id"}, lambda r: [m["role"] for m in r.messages][-1] == "assistant"),
    "messages.jsonl": ("messages", 2, set(), lambda r: isinstance(r, Chat)),
    "alpaca.json": ("alpaca", 2, {"category"}, lambda r: isinstance(r, PromptCompletion)),
    "completion.jsonl": ("completion", 2, set(), lambda r: isinstance(r, PromptCompletion)),
    "text.jsonl": ("text", 2, {"source"}, lambda r: isinstance(r, PlainDocument)),
    "pairs.jsonl": ("pairs", 2, {"score_chosen"}, lambda r: isinstance(r, Pair) and len(r.chosen) == 1),
    "gutenberg_pairs.parquet": ("pairs", 2, {"rejected_model"}, lambda r: isinstance(r, Pair) and r.plain),
    "manuscript.txt": ("document", 1, set(), lambda r: WEIR in r.text and "\r" not in r.text),
    "manuscript.docx": ("docx", 1, set(), lambda r: WEIR in r.text and "## Chapter 2" in r.text and "* * *" in r.text),
    "manuscript.odt": ("odt", 1, set(), lambda r: WEIR in r.text and "## Chapter 2" in r.text),
    "manuscript.epub": ("epub", 1, set(), lambda r: WEIR in r.text and "Chapter 2" in r.text),
    "markdown/chapter 1.md": ("document", 1, {"front matter"}, lambda r: r.text.lstrip().startswith("## Chapter 1")),
}
# File: the place of the fault, and the message.
BROKEN = {
    "sharegpt.jsonl": ("sharegpt.jsonl:2: conversations[2]: from", "narrator"),
    "messages.jsonl": ("messages.jsonl:3: messages[2]: content", "is empty"),
    "alpaca.json": ("alpaca.json:7: output", "must be text"),
    "completion.jsonl": ("completion.jsonl:2: completion", "is needed"),
    "text.jsonl": ("text.jsonl:2", "is not JSON"),
    "pairs.jsonl": ("pairs.jsonl:2: rejected", "equal answers"),
    "gutenberg_pairs.parquet": ("gutenberg_pairs.parquet row 2: chosen", "is needed"),
    "manuscript.txt": ("manuscript.txt", "PDF"),
    "manuscript.docx": ("document", "manuscript.docx"),
    "manuscript.odt": ("document", "manuscript.odt"),
    "manuscript.epub": ("manuscript.epub", "no readable EPUB"),
    "markdown/chapter 1.md": ("markdown/chapter 1.md", "no text"),
}


def rows_of(path, name=None):
    return list(read_file(Source(str(path), name or path.name)))


def needs(name):
    if name.endswith((".docx", ".odt")):
        pytest.importorskip("pypandoc", reason="pip install 'polaris-jax[documents]' to read .docx and .odt")


@pytest.mark.parametrize("name", GOOD)
def test_a_sample_is_read_whole(name):
    needs(name)
    form, count, unused, holds = GOOD[name]
    rows = rows_of(SAMPLES / "good" / name)
    assert [row.format for row in rows] == [form] * count
    assert set().union(*(row.unused for row in rows)) == unused
    assert all(holds(row.record) for row in rows)
    if count > 1:
        assert len({row.where for row in rows}) == count


@pytest.mark.parametrize("name", BROKEN)
def test_its_broken_twin_is_refused_with_the_place_named(name):
    needs(name)
    where, said = BROKEN[name]
    try:
        faults = [row for row in rows_of(SAMPLES / "broken" / name, name) if isinstance(row, InputError)]
    except InputError as error:
        faults = [error]
    assert len(faults) == 1
    assert faults[0].field == where
    assert said in str(faults[0])
    assert "\n" not in str(faults[0])


def test_what_a_chat_holds_to_the_letter():
    first, second = rows_of(SAMPLES / "good" / "messages.jsonl")
    assert first.record.messages[3]["content"] == "The surveyor's, and one dog's.\n\nThe dog had gone back."
    assert first.record.learn == (False, True, False, True)
    assert second.record.messages[1]["content"] == "What does the keeper count?"  # two parts of text
    assert second.record.learn == (False, False, False, False, True)  # one answer has weight 0
    shared = rows_of(SAMPLES / "good" / "pairs.jsonl")[1].record  # without a prompt of its own
    assert [m["content"] for m in shared.prompt] == ["One line of dialogue."]
    assert shared.chosen[0]["content"].startswith("“You're early,”")
    alpaca, plain = (row.record for row in rows_of(SAMPLES / "good" / "alpaca.json"))
    assert alpaca.prompt.endswith("\n\nBy noon the ferry had stopped pretending")
    assert "### Input:\nBy noon" in alpaca.plain_prompt
    assert "### Input" not in plain.plain_prompt


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    ("row", "field", "said"),
    [
        ({"messages": [USER]}, "messages", "no turn of the assistant"),
        ({"messages": []}, "messages", "at least one message"),
        (
            {"messages": [USER, {"role": "assistant", "content": "A", "tool_calls": [1]}]},
            "messages[2]: tool_calls",
            "tool_calls",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "image_url"}]}]},
            "messages[2]: content",
            "parts of text",
        ),
        ({"messages": [{"role": "system", "content": "S"}, USER, ANSWER], "system": "T"}, "system", "said twice"),
        ({"messages": [USER, ANSWER], "tools": [{"name": "f"}]}, "tools", "tools"),
        ({"messages": [USER, {**ANSWER, "weight": 0.5}]}, "messages[2]: weight", "0 (not learned) or 1"),
        ({"prompt": "Q", "completion": "A", "response": "B"}, "response", "differs"),
        ({"prompt": "Q", "completion": "  "}, "completion", "is empty"),
        ({"prompt": "Q", "chosen": "A"}, "rejected", "is needed"),
        ({"chosen": "A", "rejected": "B"}, "prompt", "is needed"),
        ({"chosen": [ANSWER], "rejected": [USER]}, "prompt", "is needed"),
        ({"instruction": "Q", "output": "A", "history": [["a"]]}, "history", "pairs of texts"),
        ({"promt": "Q", "competion": "A"}, "", "fit no format"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_by_its_field(row, field, said, tmp_path):
    fault = rows_of(write(tmp_path / "rows.jsonl", row))[0]
    assert isinstance(fault, InputError)
    assert fault.field == (f"rows.jsonl:1: {field}" if field else "rows.jsonl:1")
    assert said in str(fault)


def test_every_fault_of_a_file_is_found_and_formats_are_not_mixed(tmp_path):
    rows = [{"messages": [USER, ANSWER]}, "not json", [1], {"text": "T"}, {"messages": [ANSWER]}]
    found = rows_of(write(tmp_path / "rows.jsonl", *rows))
    assert [isinstance(row, InputError) for row in found] == [False, True, True, True, False]
    assert [row.field for row in found[1:4]] == ["rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4"]
    assert "one file has one format" in str(found[3])


@pytest.mark.parametrize(
    ("row", "prompt", "chosen"),
    [
        ({"system": "S", "question": "Q", "chosen": "A", "rejected": "B"}, ["S", "Q"], ["A"]),
        ({"instruction": "Q", "input": "I", "chosen": "A", "rejected": "B"}, ["Q\n\nI"], ["A"]),
        ({"prompt": "Q", "chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "B"}]}, ["Q"], ["A"]),
        (
            {
                "conversations": [{"from": "human", "value": "Q"}],
                "chosen": {"from": "gpt", "value": "A"},
                "rejected": {"from": "gpt", "value": "B"},
            },
            ["Q"],
            ["A"],
        ),
        (  # as published with scores: the conversation of the chosen answer is there again
            {"prompt": "Q", "messages": [USER, ANSWER], "chosen": [USER, ANSWER], "rejected": [USER, USER, ANSWER]},
            ["Q"],
            ["A"],
        ),
    ],
)
def test_pairs_in_their_published_spellings(row, prompt, chosen, tmp_path):
    found = rows_of(write(tmp_path / "rows.jsonl", row))[0]
    assert [m["content"] for m in found.record.prompt] == prompt
    assert [m["content"] for m in found.record.chosen] == chosen
    assert set(found.unused) == ({"messages"} if "messages" in row else set())


def test_content_counts_not_the_name(tmp_path):
    chat = {"messages": [USER, ANSWER]}
    assert rows_of(write(tmp_path / "chat.txt", chat, chat))[1].where == "chat.txt:2"
    (tmp_path / "array.txt").write_text(json.dumps([chat, chat], indent=1))
    assert [row.format for row in rows_of(tmp_path / "array.txt")] == ["messages"] * 2
    prose = write(tmp_path / "prose.txt", "[She] had said {nothing}.", "Nothing at all.")
    assert rows_of(prose)[0].format == "document"
    assert rows_of(write(tmp_path / "one.json", json.dumps(chat, indent=1)))[0].format == "messages"
    (tmp_path / "cut.json").write_text(json.dumps([chat, chat], indent=1)[:-9])
    assert "cut off" in str(rows_of(tmp_path / "cut.json")[0])
    (tmp_path / "joined.json").write_text(json.dumps([{"text": "a\u200db e\u0301"}], ensure_ascii=False))
    assert rows_of(tmp_path / "joined.json")[0].record.text == "a\u200db e\u0301"  # rows stay unchanged
    assert format_of({"prompt": None, "text": "T"}) == "text"


def test_a_folder_is_read_in_natural_order_and_names_what_it_leaves(tmp_path):
    folder = SAMPLES / "good" / "markdown"
    files, left = find_files([str(folder)])
    assert [file.name for file in files] == ["chapter 1.md", "chapter 2.md", "chapter 10.md"]
    assert left == []
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "a.txt").write_text("Text.")
    assert find_files([str(tmp_path)])[1] == ["cover.jpg"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("Text.")
    same = [str(tmp_path / "a.txt"), str(tmp_path / "other" / "a.txt")]
    assert [file.name for file in find_files(same)[0]] == same  # two of one name stay distinct
    shutil.rmtree(tmp_path / "other")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match="no file that ends in"):
        find_files([str(tmp_path)])


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypandoc", None)
    with pytest.raises(InputError, match=r"pip install 'polaris-jax\[documents\]'"):
        rows_of(SAMPLES / "good" / "manuscript.docx")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'polaris-jax\[parquet\]'"):
        rows_of(SAMPLES / "good" / "gutenberg_pairs.parquet")
