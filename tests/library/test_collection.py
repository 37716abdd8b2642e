"""Collections are read as stories: by lines with authors, the contents page, numbered titles, or blank space alone."""

import pytest

from polaris_jax.library import is_collection, read_collection, read_novel
from tests.library.conftest import prose

NAMES = ["THE LAMP", "A WINTER ROAD", "THE TALL GATE", "OLD MEN", "THE FERRY"]
AUTHORS = ["Ann Brook", "J. B. Carter", "Maria de Vries", "Ann Brook", "Thomas Hale"]


def stories(heads, *, gap=4, front="", back=""):
    """A collection with these story heads; each story has prose of its own."""
    blank = "\n" * (gap + 1)
    parts = [f"{head}\n\n{prose(14, seed=40 + number)}" for number, head in enumerate(heads)]
    return "EVENING TALES AND OTHER STORIES" + blank + front + blank.join(parts) + blank + back


def signed(note=""):
    years = [" (1801-1850)", "", " (1809- )", " (1801-1850)", " ( -1870)"]
    return [
        f"{name}\n\n{'BY ' + author.upper() if number == 1 else 'By ' + author}{years[number]}{note}"
        for number, (name, author) in enumerate(zip(NAMES, AUTHORS, strict=True))
    ]


@pytest.mark.parametrize("note", ["", "\n\n[From _The Monthly_, May, 1840. Reprinted by permission\nof the owners.]"])
def test_an_anthology_is_told_by_its_authors_lines(write, note):
    front = "INTRODUCTION\n\n" + prose(9, seed=1) + "\n\n\n\n\n"
    novel = read_novel(write(stories(signed(note), front=front, back="NOTES\n\n" + prose(4, seed=2))))
    assert is_collection(novel)
    assert not novel.accepted
    assert "signed by several authors" in novel.reason
    found = read_collection(novel)
    assert [story.title for story in found] == NAMES
    assert [story.author for story in found] == ["Ann Brook", "J. B. Carter", *AUTHORS[2:]]
    for number, story in enumerate(found):
        assert " ".join(story.text.split()) == " ".join(prose(14, seed=40 + number).split())
        assert "".join(story.scenes) == story.text


def test_a_misprint_in_the_contents_page_loses_no_story(write):
    listed = ["The Lamp", "A Winter Road", "The Tall Gat", "Old Men", "The Ferry"]
    front = "CONTENTS\n\n" + "\n\n".join(listed) + "\n\n\n\n\n"
    text = stories(NAMES, front=front).replace("\n", "\r\n")
    novel = read_novel(write(text))
    found = read_collection(novel)
    assert [story.title for story in found] == NAMES
    lines = text.split("\r\n")
    assert [lines[story.line - 1] for story in found] == NAMES


def test_numbered_titles_and_sections_inside_a_story(write):
    numbers = ["I", "II", "III", "IV", "V"]
    text = stories([f"CHAPTER {n}. {name}" for n, name in zip(numbers, NAMES, strict=True)])
    first = text.index("CHAPTER I.")
    at = text.index("\n\n", first + 900)
    text = text[:at] + "\n\n\nII\n\n\n" + text[at:].lstrip("\n")
    found = read_collection(read_novel(write(text)))
    assert [story.title for story in found] == NAMES
    assert len(found[0].scenes) >= 2
    assert "II" not in found[0].text


def test_titles_set_off_by_space_alone(write):
    found = read_collection(read_novel(write(stories(NAMES))))
    assert [story.title for story in found] == NAMES
    assert {story.author for story in found} == {""}


def test_a_novel_has_no_stories_and_no_signed_titles(write):
    text = "\n\n\n\n".join(["THE GREY HORSE\n\nBy A. Writer", *(prose(20, seed=n) for n in range(3))])
    novel = read_novel(write(text))
    assert novel.accepted
    assert not is_collection(novel)
    assert read_collection(novel) == ()


def test_a_story_as_a_book_of_one_chapter(write):
    novel = read_novel(write(stories(signed())))
    story = read_collection(novel)[1]
    book = story.as_novel(novel)
    assert (book.title, book.author, book.accepted, book.reason) == ("A WINTER ROAD", "J. B. Carter", True, "")
    assert [chapter.text for chapter in book.chapters] == [story.text]
