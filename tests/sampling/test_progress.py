"""Progress shows where the writer is, how much is left, and exactly the text of the finished book."""

import io
from dataclasses import replace

from rich.console import Console
from sampling_models import PROMPT, TINY, small_sampler

from polaris_jax.sampling.progress import LiveProgress, Progress, StreamProgress, duration, headline
from polaris_jax.sampling.writer import write_book
from polaris_jax.trajectory import split_stages


def told(events):
    """The text of each stage that a listener has received in the end."""
    heard = {}
    for event in events:
        key = (event.stage, event.chapter)
        text = heard.get(key, "")
        heard[key] = text[: len(text) - event.taken_back] + event.text
    return heard


def test_progress_tells_where_the_writer_is(written):
    _, _, events = written
    assert events[-1].done
    assert events[-1].words > 0
    assert (events[-1].chapter, events[-1].chapters) == (2, 2)
    assert {event.chapter for event in events if event.stage == "chapter_text"} == {2}
    assert {event.chapters for event in events if event.stage == "book_plan"} == {0}


def test_the_text_told_is_the_text_written(written):
    _, book, events = written
    stages = {stage.role: stage.text for stage in split_stages(book.transcript)[1:]}
    heard = {role: text.strip() for (role, _), text in told(events[:-1]).items() if text}
    assert heard == stages


def test_text_that_was_cut_or_closed_is_taken_back(model, tokenizer, tmp_path):
    starved = replace(TINY, caps=dict.fromkeys(TINY.caps, 60))
    events = []
    book = write_book(
        small_sampler(model, tokenizer), PROMPT, starved, seed=5, out_dir=tmp_path, progress=events.append
    )
    assert any(event.taken_back for event in events)
    assert any("closed at its token cap" in event.note for event in events)
    stages = {stage.role: stage.text for stage in split_stages(book.transcript)[1:]}
    assert {role: text.strip() for (role, _), text in told(events[:-1]).items() if text} == stages


def test_time_left_is_known_once_the_plan_is(written):
    _, _, events = written
    before = [event for event in events if event.stage in ("book_preview", "book_plan")]
    after = [event for event in events if event.stage not in ("book_preview", "book_plan") and not event.done]
    assert all(event.seconds_left is None for event in before)
    assert all(event.seconds_left is not None and event.seconds_left >= 0 for event in after[1:])
    middle = [event.seconds_left for event in after if event.stage == "full_book_chapters_plan"]
    last = [event.seconds_left for event in after if event.stage == "chapter_text"]
    assert max(last[-20:]) < max(middle)


def test_one_line_says_it_all():
    event = Progress(
        "chapter_text",
        "chapter_text",
        chapter=3,
        chapters=9,
        words=1200,
        tokens=9000,
        tokens_per_second=12.34,
        seconds_left=4000.0,
        attempt=1,
    )
    assert headline(event) == (
        "chapter_text: chapter_text · chapter 3/9 · 1200 words · 9000 tokens, 12.3/s · about 67 min left · attempt 2"
    )
    assert [duration(seconds) for seconds in (4, 89, 100, 12_000)] == ["4 s", "89 s", "2 min", "3 h 20 min"]


def test_a_pipe_gets_every_word_once_and_a_log_one_line_per_step(written):
    _, book, events = written
    out = io.StringIO()
    with StreamProgress(out) as stream:
        for event in events:
            stream(event)
    prose = split_stages(book.transcript)[-1].text
    if not any(event.taken_back for event in events):
        assert prose in out.getvalue()
    assert out.getvalue().count("──── chapter_text") == 1
    log = io.StringIO()
    with LiveProgress(Console(file=log, width=200)) as live:
        for event in events:
            live(event)
    lines = log.getvalue().splitlines()
    assert len([line for line in lines if line.startswith("first_chapter_plan: ")]) == len(
        {event.step for event in events if event.stage == "first_chapter_plan"}
    )
    assert lines[-1].startswith("finished · chapter 2/2")
