"""Supervision: every character belongs to one span, and copies and prose are at the right places."""

from itertools import pairwise

import pytest

from polaris_jax.trajectory import EOT, KINDS, ROLES, LossPolicy, spans, split_stages


def texts(transcript, found, kind):
    return [transcript[span.start : span.end] for span in found if span.kind == kind]


def test_spans_cover_the_transcript_without_gaps(transcript):
    found = spans(transcript)
    assert (found[0].start, found[-1].end) == (0, len(transcript))
    assert all(left.end == right.start for left, right in pairwise(found))
    assert {span.kind for span in found} == set(KINDS)
    assert {span.role for span in found} < set(ROLES)


def test_only_the_prompt_is_unsupervised_by_default(transcript):
    found = spans(transcript)
    assert (found[0].kind, found[0].end) == ("prompt", transcript.index(EOT) + len(EOT))
    assert [span.weight for span in found] == [0.0] + [1.0] * (len(found) - 1)


def test_prose_is_exactly_the_chapters(transcript, toy_book):
    assert texts(transcript, spans(transcript), "prose") == [chapter.text for chapter in toy_book.chapters]


def test_copies_are_what_was_said_before(transcript):
    copies = texts(transcript, spans(transcript), "copy")
    assert "## Medium Story Arcs\n### Arc 1: Keeping\n" in copies
    assert "### Arc 2: Leaving\n" in copies
    assert "#### Chapter 2: The Ship\n" in copies
    assert any(copy.startswith("### Chapter 2: The Ship\n**Word Count:** 200\n**Embedding") for copy in copies)
    assert "### 3\n```\n" in copies
    assert not any("Short Story Arcs" in copy or "- He keeps" in copy for copy in copies)


@pytest.mark.parametrize(
    ("policy", "kind", "weight"),
    [
        (LossPolicy(mask_headers=True), "header", 0.0),
        (LossPolicy(mask_copies=True), "copy", 0.0),
        (LossPolicy(scaffold_weight=0.5), "header", 0.5),
        (LossPolicy(prose_weight=2.0), "prose", 2.0),
    ],
)
def test_switches_change_their_kind(transcript, policy, kind, weight):
    assert {span.weight for span in spans(transcript, policy) if span.kind == kind} == {weight}


def test_every_end_of_turn_after_the_prompt_is_supervised_like_what_it_ends(transcript):
    found = spans(transcript, LossPolicy(mask_headers=True, mask_copies=True, scaffold_weight=0.5, prose_weight=2.0))
    for part in split_stages(transcript)[1:]:
        span = next(span for span in found if span.start <= part.end - 1 < span.end)
        assert span.weight == (2.0 if part.role.endswith("text") else 0.5)
