"""The style measures on given novels: the halves of a book do not differ, and loops are found in any author."""

from dataclasses import replace

import pytest

from polaris_jax.studies.style import MEASURES, Sample, contrast, read_stories
from polaris_jax.studies.style.stories import passages, spread

MOST_BOOKS, PASSAGES = 4, 48


@pytest.fixture(scope="module")
def novels(shared):
    """Passages and chapters per novel, of the smallest files."""
    files = sorted((shared / "corpus").glob("*.txt"), key=lambda file: file.stat().st_size)
    if not files:
        pytest.skip("no novels in the given data")
    found = []
    for file in files[: 2 * MOST_BOOKS]:
        stories = read_stories(file)
        cut = passages(spread(stories, 16))
        if len(cut) >= PASSAGES:
            found.append((stories, cut[:PASSAGES]))
    return found[:MOST_BOOKS]


def test_two_halves_of_a_book_show_nothing(novels):
    alarms = []
    for stories, cut in novels:
        for measure in MEASURES:
            if measure.level == "passage":
                halves = [[p for p in cut if p.stretch // 4 % 2 == side] for side in (0, 1)]
                labels = [[p.stretch // 4 for p in half] for half in halves]
            else:
                halves = [stories[side::2] for side in (0, 1)]
                labels = [[s.name for s in half] for half in halves]
            a, b = (Sample.of([measure.of(t) for t in half], mark) for half, mark in zip(halves, labels, strict=True))
            if contrast(a, b, family=len(MEASURES), resamples=1000).separates:
                alarms.append((stories[0].work, measure.name))
    # The family's level is 5 % per book, a little more with so few clusters.
    assert len(alarms) <= 1, alarms


def test_a_loop_in_a_chapter_is_seen_whoever_wrote_it(novels):
    named = {measure.name: measure for measure in MEASURES}
    for stories, _ in novels:
        for story in spread(stories, 3):
            words = story.text.split()[:150]
            stuck = replace(story, text=" ".join([*words, *(words[-12:] * 14)]))
            assert named["loop position"].of(stuck) < 0.7
            assert named["repeated 12-grams"].of(stuck) > 0.3 > named["repeated 12-grams"].of(story)
