"""Which books are one work, and which side of the split an author is on."""

import pytest

from polaris_jax.corpus.duplicates import find_duplicates, signature, similarity
from polaris_jax.corpus.identity import author_key, split_of, title_key

SHARES = (90.0, 5.0, 5.0)


@pytest.mark.parametrize(
    "spelling",
    [
        "Brontë, Charlotte, 1816-1855",
        "CHARLOTTE BRONTE",
        "Charlotte Brontë (1816–1855)",
        "Brontë, Miss Charlotte",
    ],
)
def test_an_author_is_recognised_in_every_spelling(spelling):
    assert author_key(spelling) == author_key("Charlotte Brontë")
    assert author_key(spelling) != author_key("Emily Brontë")


def test_nobody_is_no_author():
    assert author_key("Anonymous") == author_key("") == author_key("Unknown") == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Frankenstein; Or, The Modern Prometheus", "Frankenstein"),
        ("Frankenstein or, The Modern Prometheus", "FRANKENSTEIN"),
        ("Moby Dick; or The Whale", "Moby-Dick"),
        ("The Moonstone", "Moonstone."),
        ("King Solomon's Mines", "King Solomon’s Mines"),
    ],
)
def test_a_title_is_recognised_in_every_spelling(one, other):
    assert title_key(one) == title_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Middlemarch, Volume 1", "Middlemarch, Volume 2"),
        ("Sink or Swim", "Sink or Float"),
        ("Kim", "Kim's Return"),
    ],
)
def test_different_titles_stay_different(one, other):
    assert title_key(one) != title_key(other)


def test_the_split_keeps_an_author_together_and_depends_on_nobody_else():
    authors = [f"{a}{b}{c} {a}son" for a in "abcdefghijklmnop" for b in "aeiouymnrst" for c in "bdfghklmnprstvz"]
    splits = [split_of(author, "Any Title", SHARES, seed=3) for author in authors]
    assert splits == [split_of(author.upper(), "Another Title", SHARES, seed=3) for author in authors]
    assert 0.04 < splits.count("test") / len(splits) < 0.06
    assert 0.04 < splits.count("validation") / len(splits) < 0.06
    assert splits != [split_of(author, "Any Title", SHARES, seed=4) for author in authors]
    assert {split_of(author, "x", (1.0, 0.0, 0.0), 0) for author in authors} == {"train"}
    # Enlarging validation at the cost of test moves nobody out of train.
    wider = [split_of(author, "x", (90.0, 8.0, 2.0), seed=3) for author in authors]
    assert all(new == "train" for old, new in zip(splits, wider, strict=True) if old == "train")


def test_books_of_nobody_are_split_by_title():
    titles = [f"Ballad {number}" for number in range(400)]
    assert len({split_of("Anonymous", title, SHARES, 0) for title in titles}) == 3


def words(start, stop):
    return " ".join(f"w{number}" for number in range(start, stop))


def test_similarity_of_texts_is_estimated():
    """Two runs of words with a known share of 5-grams in common."""
    whole = signature([words(0, 20_000)])
    assert similarity(whole, signature([words(0, 9_000), words(9_000, 20_000).upper() + "!"])) > 0.99
    for stop, overlap in ((16_000, 0.8), (10_000, 0.5)):
        assert similarity(whole, signature([words(0, stop)])) == pytest.approx(overlap, abs=0.08)
    assert similarity(whole, signature([words(30_000, 50_000)])) < 0.02
    assert len(signature(["too short"])) == len(whole)


def test_order_of_words_matters():
    there = words(0, 5_000)
    assert similarity(signature([there]), signature([" ".join(reversed(there.split()))])) < 0.02


def test_the_first_of_alike_books_stays():
    sketches = [
        signature([words(0, 10_000)]),
        signature([words(20_000, 30_000)]),
        signature([words(500, 10_000)]),
        signature([words(40_000, 50_000)]),
    ]
    copies = find_duplicates(["a", "b", "a", "b"], ["x", "y", "z", "y"], sketches, 0.7)
    assert [(copy.index, copy.of) for copy in copies] == [(2, 0), (3, 1)]
    assert find_duplicates(["a", "b", "a", "c"], ["w", "x", "y", "z"], sketches, 0.99) == []


@pytest.mark.parametrize("other", ["", "bell ellis"])
def test_editions_that_a_split_would_part_are_one_work(other):
    """A revised edition under a pen name, or without an author; a second novel of the author is no edition."""
    first, revised = signature([words(0, 10_000)]), signature([words(4_000, 14_000)])
    assert similarity(first, revised) < 0.5
    assert [copy.of for copy in find_duplicates(["bronte", other], ["x", "y"], [first, revised], 0.7)] == [0]
    assert find_duplicates(["bronte", "bronte"], ["x", "y"], [first, revised], 0.7) == []
    assert find_duplicates(["bronte", other], ["x", "y"], [first, signature([words(30_000, 40_000)])], 0.7) == []
