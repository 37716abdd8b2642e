"""Who wrote what: from a package, a header, a title page or a catalogue, and cleaned."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel, segment_record
from polaris_jax.library.blocks import split_blocks
from polaris_jax.library.catalogue import Catalogue
from polaris_jax.library.credits import Credits, clean_author, clean_title, merge
from polaris_jax.library.titlepage import read_title_page
from tests.library.conftest import book


@pytest.mark.parametrize(
    ("printed", "title"),
    [
        ("The Project Gutenberg Etext of The Grey Horse", "The Grey Horse"),
        ("The Project Gutenberg eBook of The Grey Horse, by A. Writer", "The Grey Horse"),
        ("Project Gutenberg's The Grey Horse, by A. Writer", "The Grey Horse"),
        ("**The Project Gutenberg Etext of The Grey Horse**", "The Grey Horse"),
        ("The Grey Horse [eBook #1234]", "The Grey Horse"),
        ("_The Grey Horse._", "The Grey Horse"),
        ("Title: The Grey Horse; or, Winter", "The Grey Horse; or, Winter"),
        ("Stand by Me", "Stand by Me"),
        ("The Horse, &c.", "The Horse, &c."),
    ],
)
def test_titles(printed, title):
    assert clean_title(printed) == title


@pytest.mark.parametrize(
    ("printed", "author"),
    [
        ("by A. Writer", "A. Writer"),
        ("By: Jane WRITER", "Jane WRITER"),
        ("Writer, Jane, 1775-1817", "Writer, Jane"),
        ("Jane Writer (1775–1817)", "Jane Writer"),
        ("Jane Writer, b. 1860", "Jane Writer"),
        ("A. WRITER CHAPTER I", "A. WRITER"),
        ("A. Writer Chapter One THE GATE", "A. Writer"),
        ("A. Writer BOOK THE FIRST", "A. Writer"),
        ("Jane Writer, Author of The Mill", "Jane Writer"),
        ("the author of The Mill", ""),
        ("Jane Writer #12 in our series by Jane Writer", "Jane Writer"),
        ("Jack London", "Jack London"),
        ("Letter Chapter Jones", "Letter Chapter Jones"),
        ("John Book", "John Book"),
        ("J. Writer, Jr.", "J. Writer, Jr."),
        ("***", ""),
    ],
)
def test_authors(printed, author):
    assert clean_author(printed) == author


@pytest.mark.parametrize(
    ("page", "title", "author"),
    [
        ("THE GREY HORSE\n\nby A. Writer\nChapter One\n\nText.", "THE GREY HORSE", "A. Writer"),
        ("THE GREY HORSE\n\nA. Writer\nChapter One THE GATE\n\nText.", "THE GREY HORSE", "A. Writer"),
        ("The Grey\nHorse\n_By_\nJANE WRITER\n_TO N. N._\n\nText.", "The Grey Horse", "JANE WRITER"),
        ("THE GREY HORSE\nA TALE\nBy Jane Writer\nTO N. N.\nCHAPTER I\nText.", "THE GREY HORSE A TALE", "Jane Writer"),
        ("The Grey Horse, by Jane Writer\n\nCHAPTER I", "The Grey Horse", "Jane Writer"),
        ("THE GREY HORSE\n\nBY\n\nJANE WRITER\n\nCHAPTER I", "THE GREY HORSE", "JANE WRITER"),
        ("THE GREY HORSE\n\nCHAPTER I\n\nBy the gate stood Tom.", "THE GREY HORSE", ""),
    ],
)
def test_title_pages(page, title, author):
    found = read_title_page(split_blocks(page, 1))
    assert merge(Credits(found.title, found.author)) == Credits(title, author)


def test_the_given_case(shared):
    novel = read_novel(shared / "cases" / "library" / "first_heading_under_author.txt")
    assert (novel.title, novel.author) == ("THE MILL AT NIGHT", "A. Writer")


def test_a_header_names_translator_and_edition(write):
    header = (
        "The Project Gutenberg Etext of The Grey Horse, by A. Writer\n\nTitle: The Grey Horse\n\nAuthor: A. Writer\n\n"
        "Translator: J. Second\n\nEdition: 11\n\n*** START OF THIS PROJECT GUTENBERG EBOOK THE GREY HORSE ***\n\n"
    )
    record = segment_record(read_novel(write(header + book(["CHAPTER I", "CHAPTER II", "CHAPTER III"]))))
    assert [record[name] for name in ("title", "author", "translator", "edition")] == [
        "The Grey Horse",
        "A. Writer",
        "J. Second",
        "11",
    ]


def test_a_catalogue_is_believed_first(write):
    path = write(book(["CHAPTER I", "CHAPTER II", "CHAPTER III"]), name="pg1234.txt")
    ours = write('file,title,author,translator\npg1234.txt,The Mill,"Second, Jane",T. Third\n', name="ours.csv")
    theirs = write('Text#,Type,Title,Language,Authors\n1234,Text,The Inn,en,"Third, A., 1800-1870"\n', name="pg.csv")
    novel = read_novel(path, catalogue=Catalogue(ours))
    assert (novel.title, novel.author, novel.translator) == ("The Mill", "Second, Jane", "T. Third")
    novel = read_novel(path, catalogue=Catalogue(theirs))
    assert (novel.title, novel.author) == ("The Inn", "Third, A.")
    other = write(book(["CHAPTER I", "CHAPTER II", "CHAPTER III"]), name="other.txt")
    assert read_novel(other, catalogue=Catalogue(ours)).author == "A. Writer"


@pytest.mark.parametrize("text", ["", "title,author\nThe Mill,A. Writer\n"])
def test_a_catalogue_without_files_is_refused(text, write):
    with pytest.raises(InputError, match="catalogue"):
        Catalogue(write(text, name="catalogue.csv"))


def test_an_underscore_inside_a_name_is_part_of_it():
    assert clean_author("_The polaris_jax authors_") == "The polaris_jax authors"
