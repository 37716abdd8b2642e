"""The transcript page: all of the text, coloured by role and kind, with its mistakes."""

import re
from collections import Counter

import pytest
from demo_folder import small_book
from pages import Page

from polaris_jax.report import transcript_html
from polaris_jax.trajectory import KINDS, describe_transcript, render, spans, split_stages


def shown(page: Page) -> str:
    """The text of the transcript as the page shows it, folded parts included."""
    return "".join(text for _, text in page.inside("stage-text"))


def test_the_page_shows_every_character_in_order(lamp):
    assert shown(Page(transcript_html(lamp, "The Lamp"))) == lamp


def test_every_character_has_the_colour_of_its_kind(lamp):
    page = Page(transcript_html(lamp, "The Lamp"))
    seen = Counter()
    for place, text in page.inside("stage-text"):
        kind = next(at.removeprefix("span.in-") for at in place if at.startswith("span.in-"))
        seen[kind] += len(text)
    expected = Counter()
    for span in spans(lamp):
        expected[span.kind] += span.end - span.start
    assert seen == expected
    assert set(seen) == set(KINDS)


def test_the_index_lists_words_and_verdict_of_each_stage(lamp):
    text = Page(transcript_html(lamp, "The Lamp")).text
    for number, stage in enumerate(describe_transcript(lamp)):
        assert f"{number} {stage['role']} {stage['words']:,} {stage['chars']:,} valid" in text


def test_tokens_are_shown_when_somebody_can_count_them(lamp):
    page = Page(transcript_html(lamp, "The Lamp", count_tokens=lambda text: 1_000_000 + len(text)))
    total = sum(1_000_000 + part.end - part.start for part in split_stages(lamp))
    assert f"{total:,} tokens" in page.text
    assert "tokens" not in Page(transcript_html(lamp, "The Lamp")).text


def test_long_prose_is_folded_and_short_prose_is_not(lamp):
    page = Page(transcript_html(lamp, "The Lamp"))
    assert page.tags.count("details") == 2
    assert re.search(r"\d+ more words", page.text)
    short = re.sub(r"(The water came up[^\n]*\n\n)+", "", lamp)
    assert "details" not in Page(transcript_html(short, "The Lamp")).tags


def test_a_stage_that_breaks_the_grammar_is_named(lamp):
    broken = lamp.replace("## Writing Style", "## Style")
    page = Page(transcript_html(broken, "The Lamp"))
    assert shown(page) == broken
    violation = next(s["violation"] for s in describe_transcript(broken) if not s["ok"])
    assert " ".join(violation.split()) in page.text
    assert page.text.count("not valid") == 3  # the page, the index, the stage


@pytest.mark.parametrize("cut", [0, 1, 30, 60, 200])
def test_an_unfinished_stage_is_shown_as_being_written(lamp, cut):
    start = split_stages(lamp)[-1].text_start
    page = Page(transcript_html(lamp[: start + cut], "The Lamp"))
    assert shown(page) == lamp[: start + cut]
    assert "not finished" in page.text
    assert "being written" in page.text
    assert "not valid" not in page.text


def test_text_that_is_no_transcript_is_shown_with_the_reason():
    page = Page(transcript_html("Once upon a time <b>there</b> was", "A tale"))
    assert "a stage header must begin here" in page.text
    assert "Once upon a time <b>there</b> was" in page.text
    assert "b" not in page.tags


def test_an_empty_transcript_is_a_page_too():
    assert "A tale" in Page(transcript_html("", "A tale")).text


def test_markup_in_title_and_text_stays_text():
    title = "</title><script>1</script>"
    transcript = render(small_book(prompt="<em>shout</em> & </div>"))
    page = Page(transcript_html(transcript, title))
    assert not {"script", "em"} & set(page.tags)
    assert title in page.text
    assert shown(page) == transcript


def test_the_page_stands_alone(lamp):
    html = transcript_html(lamp, "The Lamp")
    assert html.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img"} & set(Page(html).tags)
    assert "http" not in html.replace("http-equiv", "")
