"""Word-count bins, stages, and the helpers of the released orchestrator."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_jax.errors import InputError
from polaris_jax.trajectory import (
    EOT,
    LEGAL_COUNTS,
    bin_word_count,
    book_filename,
    check,
    extract_planned_chapters,
    header,
    join_stages,
    merge_prefilled_text,
    open_transcript,
    split_stages,
    trim_stage_text,
    word_count_upper_bound,
)
from polaris_jax.trajectory.words import raw_interval


@pytest.mark.parametrize(
    ("raw", "rounded"),
    [
        (14, 10),
        (15, 20),
        (25, 20),
        (95, 100),
        (96, 100),
        (125, 100),
        (126, 150),
        (975, 1000),
        (1050, 1000),
        (1051, 1100),
        (1150, 1200),
        (9950, 10000),
        (10250, 10000),
        (10251, 10500),
        (3, 10),
        (500_000, 99_500),
    ],
)
def test_counts_round_half_to_even_within_their_bin(raw, rounded):
    assert bin_word_count(raw) == rounded


@given(st.integers(0, 200_000))
def test_a_rounded_count_is_legal_and_stays(raw):
    rounded = bin_word_count(raw)
    assert rounded in LEGAL_COUNTS
    assert bin_word_count(rounded) == rounded


@pytest.mark.parametrize("value", LEGAL_COUNTS[::7])
def test_the_upper_bound_covers_every_raw_count_behind_a_legal_value(value):
    low, high = raw_interval(value)
    assert low <= value <= high <= word_count_upper_bound(value)
    assert bin_word_count(low) == bin_word_count(high) == value


@pytest.mark.parametrize("value", [5, 2345, 105, -10])
def test_the_upper_bound_refuses_what_no_bin_explains(value):
    with pytest.raises(InputError, match="legal rounded count"):
        word_count_upper_bound(value)


def test_stages_split_with_offsets_and_join_back(transcript):
    parts = split_stages(transcript)
    assert [part.role for part in parts[:3]] == ["prompt", "book_preview", "book_plan"]
    assert join_stages(parts) == transcript
    for part in parts:
        assert transcript[part.text_start : part.text_start + len(part.text)] == part.text
        assert transcript[part.end - len(EOT) : part.end] == EOT


def test_an_unfinished_stage_is_only_accepted_on_request(transcript):
    cut = transcript[:-30]
    with pytest.raises(InputError, match="must end with"):
        split_stages(cut)
    assert split_stages(cut, partial=True)[-1].complete is False


@pytest.mark.parametrize(
    "broken", ["hello", header("prompt") + "x" + EOT + "\n" + header("book_plan"), header("poem") + EOT]
)
def test_what_is_not_a_row_of_stages_is_refused_with_its_offset(broken):
    with pytest.raises(InputError, match="offset"):
        split_stages(broken)


def test_a_prompt_is_put_in_canonical_form_and_cannot_smuggle_stages():
    assert split_stages(open_transcript("Cafe\u0301 \r\nnoir  "))[0].text == "Caf\u00e9\nnoir"
    with pytest.raises(InputError, match="reserved"):
        open_transcript("x<|eot_id|>")
    with pytest.raises(InputError, match="what the book should be about"):
        open_transcript(" \n")


def test_helpers():
    assert trim_stage_text("\n\na \n\nb\n\n<|eot_id|>c") == "a\n\nb"
    assert trim_stage_text("\n\na", strip_leading_blank_lines=False) == "\n\na"
    assert book_filename('  A: "B"? ') == "A B.txt"
    assert book_filename("???") == "book.txt"
    assert merge_prefilled_text("### A\n```\n", "Text") == "### A\n```\nText"
    with pytest.raises(InputError):
        merge_prefilled_text("### A\n```\n", "\n### B")


def test_planned_chapters_come_in_reading_order_or_name_the_bad_section(transcript, toy_book):
    plan = split_stages(transcript)[2].text
    found = extract_planned_chapters(plan)
    assert [chapter["chapter_name"] for chapter in found] == [chapter.name for chapter in toy_book.chapters]
    with pytest.raises(InputError, match="Chapters Word Count"):
        extract_planned_chapters(plan.replace("#### 3\n150", "#### 4\n150"))
    with pytest.raises(InputError, match="missing"):
        extract_planned_chapters(plan.replace("## Chapter Names", "## Names"))
    assert check(transcript, "corpus").ok
