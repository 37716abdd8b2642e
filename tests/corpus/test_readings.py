"""Rules for single books by a glob of their file names; a rule that fits no book or contradicts another is refused."""

import pytest

from polaris_jax.corpus.readings import ReadingChoice, ReadingRules
from polaris_jax.errors import InputError

BOOKS = ["library/north.txt", "library/south.txt", "gs://bucket/east.epub"]


def test_a_rule_holds_for_the_books_that_its_glob_fits():
    rules = ReadingRules(("^PART", "north.txt=^CHAPTER [IVX]+", "*.epub=^#"), accept=("south*",), reject=("*.epub",))
    rules.check(BOOKS)
    assert [rules.reading(book) for book in BOOKS] == [
        ReadingChoice("^CHAPTER [IVX]+", None),
        ReadingChoice("^PART", "accept"),
        ReadingChoice("^#", "reject"),
    ]


def test_a_whole_address_names_a_book_too():
    rules = ReadingRules(accept=("gs://bucket/*",), reject=("library/north.txt",))
    rules.check(BOOKS)
    assert [rules.reading(book).verdict for book in BOOKS] == ["reject", None, "accept"]


@pytest.mark.parametrize("regex", ["^CHAPTER (?=[IVX])", "a=b", r"\d+ = \w+"])
def test_an_equals_sign_inside_an_expression_is_no_glob(regex):
    assert ReadingRules((regex,)).reading(BOOKS[0]).heading == regex


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (ReadingRules(("(",)), "--heading='\\(': is no regular expression"),
        (ReadingRules(("",)), "--heading=''"),
        (ReadingRules((".*",)), "nothing in it"),
        (ReadingRules(("west.txt=^I",)), "--heading='west.txt=\\^I': fits none"),
        (ReadingRules(accept=("west.txt",)), "--accept='west.txt': fits none"),
        (ReadingRules(reject=("*.pdf",)), "--reject='\\*.pdf': fits none"),
        (ReadingRules(accept=("*",), reject=("north.txt",)), "--reject='north.txt': is the name of an accepted"),
    ],
)
def test_rules_that_cannot_be_meant(rules, says):
    with pytest.raises(InputError, match=says):
        rules.check(BOOKS)


def test_nothing_said_changes_nothing():
    assert ReadingRules().reading(BOOKS[0]).given() == {}
    ReadingRules().check(BOOKS)
