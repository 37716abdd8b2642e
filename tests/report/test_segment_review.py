"""The review page: headings, drops and warnings of each book, in the order of the file."""

from dataclasses import replace

import pytest
from pages import Page

from polaris_jax.library import Account, Dropped, read_novel, segment_record
from polaris_jax.report.segment_review import review_page, view_book
from tests.library.conftest import book, prose


@pytest.fixture
def read(tmp_path):
    """Reads a text; the account is replaced by the given one."""

    def _read(text, name="book.txt", **account):
        (tmp_path / name).write_text(text, encoding="utf-8")
        novel = read_novel(tmp_path / name, verdict=account.pop("verdict", None))
        if account:
            novel = replace(novel, account=Account(len(text.split()), 100, **account))
        return novel, segment_record(novel)

    return _read


HEADINGS = [f"CHAPTER {n}" for n in ("I", "II", "III", "IV")]


def test_headings_drops_and_warnings_stand_side_by_side(read):
    text = book(HEADINGS)
    at = text.split("\n").index("CHAPTER II") + 1
    dropped = (Dropped(1, 3, 6, "title page"), Dropped(at + 6, at + 9, 40, "text between chapters"))
    html = review_page([read(text, dropped=dropped, warnings=("5 listed, 4 found: missing V.",), confidence=0.75)])
    page = Page(html)
    for said in ("Chapter I", "Chapter IV", "title page", "text between chapters", "5 listed, 4 found", "60 %"):
        assert said in page.text
    assert "no known apparatus" in page.text
    assert page.text.index("title page") < page.text.index("Chapter II") < page.text.index(f"lines {at + 6}–{at + 9}")
    assert page.text.index(f"lines {at + 6}–{at + 9}") < page.text.index("Chapter III")
    assert "script" not in page.tags
    assert not any(value.startswith(("http", "//")) for value in page.values("href") + page.values("src"))


def test_markup_in_a_book_is_text(read):
    text = book(["CHAPTER I", "CHAPTER II"], paragraphs=30).replace("the lantern", "<b>the</b> lantern & co")
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines, 1) if "<b>the</b>" in line)
    html = review_page([read(text, dropped=(Dropped(at, at, 5, "<i>odd</i>"),), warnings=(), confidence=1.0)])
    Page(html)
    assert "&lt;b&gt;the&lt;/b&gt;" in html
    assert "<i>odd" not in html


def test_many_books_have_an_index_that_leads_to_each(read):
    books = [read(book(HEADINGS, title=f"VOLUME {name}"), f"{name}.txt") for name in "ABC"]
    page = Page(review_page(books))
    links = [value for value in page.values("href") if value.startswith("#book-")]
    assert links == ["#book-1", "#book-2", "#book-3"]
    assert set(page.values("id")) >= {link[1:] for link in links}
    assert "All books" not in Page(review_page(books[:1])).text


def test_a_rejected_book_shows_its_reason_and_no_headings(read):
    page = Page(review_page([read(prose(4))]))
    assert "It is too short" in page.text
    assert "rejected" in page.text


def test_a_chapter_of_unusual_length_is_pointed_out(read):
    parts = [f"{head}\n\n\n{prose(30 if n != 2 else 2, seed=n)}" for n, head in enumerate(HEADINGS)]
    view = view_book(*read("\n\n\n\n".join(["THE HORSE\n\nby A. Writer", *parts])))
    assert [heading.odd for heading in view.headings] == ["", "", "much shorter than usual", ""]
    assert view.verdict[0] == "wait"


def test_places_in_the_ribbon_cover_the_file(read):
    view = view_book(*read(book(HEADINGS)))
    ends = [heading.left + heading.width for heading in view.headings]
    assert [heading.left for heading in view.headings[1:]] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(1)
    assert sum(drop.words for drop in view.drops) + sum(h.words for h in view.headings) <= view.words
