"""Whole files: metadata, boilerplate, EPUB, Markdown, and files that are not books."""

import zipfile

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel, segment_record
from tests.library.conftest import book, prose

CHAPTERS = [f"CHAPTER {n}" for n in ("I", "II", "III")]
HEADERS = {
    "modern": (
        "The Project Gutenberg EBook of The Grey Horse, by A. Writer\n\nThis eBook is for anyone anywhere.\n\n"
        "Title: The Grey Horse\n       A Tale of the Valley\n\nAuthor: A. Writer\n\nLanguage: English\n\n"
        "Character set encoding: ISO-8859-1\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK THE GREY HORSE ***\n\n\n\n"
        "Produced by Two Volunteers\n\n\n\n",
        "\n\n\nEnd of the Project Gutenberg EBook of The Grey Horse, by A. Writer\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK THE GREY HORSE ***\n\nUpdated editions follow.\n",
    ),
    "small print": (
        "The Project Gutenberg Etext of The Grey Horse, by A. Writer\n\nPlease read this first.\n\n"
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n\n",
        "\n\n\nEnd of Project Gutenberg's The Grey Horse, by A. Writer\n",
    ),
}


@pytest.mark.parametrize("style", HEADERS)
def test_licence_text_never_reaches_a_chapter(style, write):
    header, footer = HEADERS[style]
    text = header + book(CHAPTERS) + footer
    novel = read_novel(write(text.replace("\n", "\r\n")))
    assert novel.title.startswith("The Grey Horse")
    assert novel.author == "A. Writer"
    assert len(novel.chapters) == 3
    assert not any("Gutenberg" in chapter.text or "Volunteers" in chapter.text for chapter in novel.chapters)
    assert [text.split("\n")[chapter.line - 1] for chapter in novel.chapters] == CHAPTERS


def test_captions_notes_and_page_marks_leave_the_text(write):
    text = book(CHAPTERS).split("\n\n")
    at = next(i for i, block in enumerate(text) if "CHAPTER II" in block) + 4
    text[at] = text[at].replace("valley", "valley[1]", 1).replace("the ", "the _very_ ", 1)
    extra = ["[Illustration: The horse\n\nat the gate]", "[Footnote 1: A valley in the north.]", "[1] Of the river."]
    novel = read_novel(write("\n\n".join([*text[: at + 1], *extra, *text[at + 1 :]])))
    joined = "".join(chapter.text for chapter in novel.chapters)
    assert not any(sign in joined for sign in ("[", "]", "_", "Illustration", "north", "Of the river"))
    assert "very" in joined


def test_lone_page_numbers_are_no_chapters(write):
    blocks = book(CHAPTERS, paragraphs=40).split("\n\n")
    paged = []
    for number, block in enumerate(blocks):
        paged += [block, str(number // 3)] if number % 3 == 2 else [block]
    novel = read_novel(write("\n\n".join(paged)))
    assert [chapter.name for chapter in novel.chapters] == ["Chapter I", "Chapter II", "Chapter III"]
    assert not any(paragraph.isdigit() for chapter in novel.chapters for paragraph in chapter.text.split("\n\n"))


def test_paragraphs_are_unwrapped_and_verse_keeps_its_lines(write):
    verse = (
        "  The river runs to meet the sea\n  And never asks the way,\n  And so the road has come to me\n  And calls."
    )
    blocks = book(CHAPTERS).split("\n\n")
    blocks.insert(8, verse)
    paragraphs = "\n\n".join(chapter.text for chapter in read_novel(write("\n\n".join(blocks))).chapters).split("\n\n")
    assert "\n".join(line.strip() for line in verse.split("\n")) in paragraphs
    assert sum("\n" in paragraph for paragraph in paragraphs) == 1


def test_one_paragraph_per_line_without_blank_lines(write):
    lines = []
    for number, heading in enumerate(CHAPTERS):
        lines += [heading, *(" ".join(p.split()) for p in prose(12, seed=number).split("\n\n"))]
    novel = read_novel(write("\n".join(lines)))
    assert [chapter.name for chapter in novel.chapters] == ["Chapter I", "Chapter II", "Chapter III"]


def test_markdown_metadata_lines_are_no_chapters(write):
    head = "# Title: The Grey Horse\n\n## Author: A. Writer\n\n## Year: 1901\n\n-------\n\n"
    body = "\n\n".join(f"## Chapter {n}. The Road\n\n{prose(12, seed=n)}" for n in range(1, 5))
    novel = read_novel(write(head + body, name="book.md"))
    assert (novel.title, novel.author) == ("The Grey Horse", "A. Writer")
    assert [chapter.name for chapter in novel.chapters] == [f"Chapter {n}: The Road" for n in range(1, 5)]


def make_epub(path, chapters):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        items = "".join(f'<item id="c{i}" href="c{i}.xhtml" media-type="x"/>' for i in range(len(chapters)))
        refs = '<itemref idref="nav"/>' + "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
        archive.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            "<dc:title>The Grey Horse</dc:title><dc:creator>A. Writer</dc:creator><dc:language>en</dc:language>"
            f'</metadata><manifest><item id="nav" href="n.xhtml" properties="nav"/>{items}</manifest>'
            f"<spine>{refs}</spine></package>",
        )
        for i, (heading, body) in enumerate(chapters):
            marked = "".join(f"<p>{' '.join(p.split())}</p>" for p in body.split("\n\n"))
            archive.writestr(
                f"OPS/c{i}.xhtml",
                f"<html><head><title>skip me</title></head><body><h2>{heading}</h2>{marked}"
                '<aside epub:type="footnote"><p>A note to skip.</p></aside></body></html>',
            )
    return path


@pytest.mark.parametrize(
    "headings", [["I", "II", "III"], ["The Ferry", "A Letter", "Snow"], ["Chapter 1", "Chapter 2", "Chapter 3"]]
)
def test_epub(headings, tmp_path):
    path = make_epub(tmp_path / "book.epub", [(h, prose(12, seed=i)) for i, h in enumerate(headings)])
    novel = read_novel(path)
    assert (novel.title, novel.author, novel.encoding) == ("The Grey Horse", "A. Writer", "epub")
    assert [chapter.name for chapter in novel.chapters] == headings
    assert not any("skip" in chapter.text for chapter in novel.chapters)
    assert novel.chapters[1].text.split() == prose(12, seed=1).split()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \r\n\r\n",
        b"\xef\xbb\xbf",
        bytes(range(256)) * 40,
        b"PK\x05\x06" + bytes(18),
        b"\x89PNG\r\n\x1a\n" + bytes(900),
    ],
)
def test_files_that_are_no_text_are_an_input_error(data, write):
    with pytest.raises(InputError) as error:
        read_novel(write(data))
    assert "\n" not in str(error.value)


def test_missing_file_and_folder_are_an_input_error(tmp_path):
    for path in (tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(InputError):
            read_novel(path)


def test_record_is_plain_json_with_the_counts(write):
    novel = read_novel(write(book(CHAPTERS)))
    record = segment_record(novel)
    counts = {"structure", "chapter_count", "unit_count", "chapters", "account"}
    assert set(record) == {"path", "title", "author", "translator", "edition", "accepted", "reason"} | counts
    assert set(record["chapters"][0]) == {"name", "kind", "part", "line", "words", "scenes"}
    for row, chapter in zip(record["chapters"], novel.chapters, strict=True):
        assert row["words"] == len(chapter.text.split())
        assert row["scenes"] == len(chapter.scenes)


def test_a_rejected_text_says_why_and_lists_nothing(write):
    record = segment_record(read_novel(write("A short note, and no more than that.\n")))
    assert record["accepted"] is False
    assert record["reason"].endswith(".")
    assert record["chapters"] == []
