"""Each measure on texts with a known answer."""

import math
import random

import pytest

from polaris_jax.data import TokenStore, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.studies.style import CANDIDATES, DROPPED, MEASURES, Passage, Story, passages, read_stories
from polaris_jax.studies.style.plan_use import artefact_index, names_kept, planned_names, word_count_error
from polaris_jax.studies.style.stories import plain, spread, without_markup

BY_NAME = {measure.name: measure for measure in CANDIDATES}
CALM = "The dog lay on the stone floor by the hearth. Rain ran down the window and the lamp smoked."


def passage(text, quotes="straight"):
    return Passage(text, "a", "w", 0, quotes)


def story(text, **more):
    return Story(text, "a", "w", "s", **more)


@pytest.mark.parametrize(
    ("name", "more", "less"),
    [
        ("dialogue share", '"Come in," she said. "Sit down by the fire."', "She asked him to come in and to sit down."),
        (
            "concreteness",
            CALM,
            "The importance of hope and the meaning of his decision gave purpose to their existence.",
        ),
        ("connectives", "Therefore he left. As a result she wept. However, in order to live, she sang.", CALM),
        ("hedges", "Perhaps it seemed to be a kind of dream, as if it might be almost nothing.", CALM),
        ("stock phrases", "It was a testament to a sense of hope in the heart of the bustling town.", CALM),
        ("sentence length", "He went down to the shore and stood there for a while looking.", "He went. He saw."),
        (
            "sentence variation",
            "No. He went down to the shore and stood there looking at the water. Why? She knew.",
            "He went down there. She went up there. They went in there.",
        ),
        ("short sentences", "He went. He saw. He wept.", "He went down to the shore and stood there for a long while."),
        ("word length", "Extraordinary circumstances necessitated deliberation.", "He sat on a log by the sea."),
    ],
)
def test_a_passage_with_more_of_it_measures_higher(name, more, less):
    assert BY_NAME[name].of(passage(more)) > BY_NAME[name].of(passage(less))


def test_a_closing_that_preaches_is_told_from_one_that_does_not():
    body = " ".join([CALM] * 6)
    preached = story(body + " He had learned that hope is the lesson, a reminder that we are not alone.")
    measure = BY_NAME["closing morals"]
    assert measure.of(preached) > measure.of(story(body)) == 0
    assert math.isnan(measure.of(story(preached.text, finished=False)))


def test_a_loop_is_found_where_it_begins_and_prose_has_none():
    rng = random.Random(0)
    fresh = " ".join(f"word{rng.randrange(10**6)}" for _ in range(150))
    loop = fresh + " and then she went down to the river again" * 16
    where, share = BY_NAME["loop position"], BY_NAME["repeated 12-grams"]
    assert where.of(story(fresh)) == 1.0
    assert share.of(story(fresh)) == 0.0
    assert where.of(story(loop)) == pytest.approx(159 / 294, abs=0.02)  # the loop's second round
    assert share.of(story(loop)) > 0.3


def test_shuffling_the_words_changes_only_what_depends_on_their_order(novel_stories):
    [whole] = passages(novel_stories[:1])[:1]
    words = plain(whole.text).split()
    random.Random(0).shuffle(words)
    mixed = passage(" ".join(words), whole.quotes)
    for measure in CANDIDATES:
        if measure.name in ("concreteness", "word length"):
            assert measure.of(mixed) == pytest.approx(measure.of(whole)), measure.name
    assert BY_NAME["distinct-2"].of(mixed) != BY_NAME["distinct-2"].of(whole)


def test_the_publishers_quotes_and_dashes_say_nothing():
    assert plain("“It’s he—” she said… ‘Yes’") == plain("\"It's he-\" she said... 'Yes'")


def test_passages_are_stretches_of_the_wanted_length_in_their_order(novel_stories):
    found = passages(novel_stories)
    assert all(200 <= len(p.words) <= 320 for p in found)
    whole = " ".join(" ".join(s.words) for s in novel_stories)
    places = [whole.find(" ".join(p.words)) for p in found]
    assert -1 not in places
    assert places == sorted(places)
    unending = story("and so it went on " * 400)
    assert passages([unending]) == []


def test_what_no_novel_has_is_taken_off_a_generated_story():
    assert without_markup("# The End\n\n**The Ferry**\n\nHe **rowed**.\n\n---\n\nShe wept.") == "He rowed.\n\nShe wept."


def test_spread_keeps_both_ends_and_no_more_than_asked():
    assert spread(list(range(100)), 3) == [0, 50, 99]
    assert spread([1, 2], 3) == [1, 2]


def test_measures_are_the_candidates_that_were_not_dropped():
    assert {m.name for m in MEASURES} == {m.name for m in CANDIDATES} - set(DROPPED)
    assert set(DROPPED) <= set(BY_NAME)


def test_stories_of_a_planned_book_know_their_plan(material):
    stories = read_stories(material / "store", tokenizer=str(material / "model"))
    assert {s.author for s in stories} == {"Ann Lee", "Bo Ray"}
    assert all(s.book.chapters[s.chapter].text == s.text for s in stories)
    assert max(word_count_error(s) for s in stories) < 0.2  # cards are binned counts of this very text
    assert sum(artefact_index(s) for s in stories) / len(stories) > 0  # its own plan, not its neighbour's
    kept = [names_kept(s) for s in stories if not math.isnan(names_kept(s))]
    assert sum(kept) / len(kept) > 0.9


def test_a_transcript_on_disk_reads_like_the_store_it_is_in(material, tmp_path):
    tokenizer = load_tokenizer(str(material / "model"))
    store = TokenStore.open(material / "store", tokenizer)
    tokens = store.read(0).tokens.tolist()
    file = tmp_path / "book.txt"
    file.write_text(tokenizer.decode(tokens[1:] if tokens[0] == tokenizer.bos_id else tokens), encoding="utf-8")
    here, there = read_stories(file), read_stories(material / "store", tokenizer=str(material / "model"))
    assert [s.text for s in here] == [s.text for s in there[: len(here)]]
    assert here[0].book == there[0].book


def test_names_are_capitalised_words_inside_a_line():
    assert planned_names(["Then Captain Smith met Anne.", "Walking home, he wept."]) == {"Captain", "Smith", "Anne"}


def test_a_store_needs_its_tokenizer_and_a_folder_needs_stories(material, tmp_path):
    with pytest.raises(InputError, match="tokenizer"):
        read_stories(material / "store")
    with pytest.raises(InputError, match="no story"):
        read_stories(tmp_path)
    with pytest.raises(InputError, match="no such"):
        read_stories(tmp_path / "nowhere")
