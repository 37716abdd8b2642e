"""EPUB: every page read in its own encoding, apparatus reported, the maker's headings and contents used as evidence."""

import tracemalloc
import zipfile

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.library.epub import BrokenEpub, read_epub
from tests.library.conftest import prose
from tests.library.epub_files import METADATA, page, paragraphs, write_epub


def chapter(number, heading):
    return page(f"{heading}{paragraphs(prose(12, seed=number))}")


CASES = {
    "p_epub_dropcap_image": ["Chapter 1", "Chapter 2", "Chapter 3", "Chapter 4", "Chapter 5"],
    "p_epub_dropcap_span": ["Chapter 1", "Chapter 2", "Chapter 3", "Chapter 4", "Chapter 5"],
    "p_epub_latin1_page": ["Chapter 1", "Chapter 2", "Chapter 3", "Chapter 4", "Chapter 5"],
    "p_epub_missing_spine_file": ["Chapter 1", "Chapter 2", "Chapter 3", "Chapter 4", "Chapter 5"],
    "p_epub_no_h_tags_numbers": ["Chapter I", "Chapter II", "Chapter III", "Chapter IV", "Chapter V"],
    "p_epub_no_h_tags_titles": ["The Gate", "The Black Bird", "The Inn", "The Letter", "The Dog"],
    "p_epub_split_files": ["Chapter 1", "Chapter 2", "Chapter 3", "Chapter 4", "Chapter 5"],
    "p_epub_table_verse": ["Chapter 1", "Chapter 2", "Chapter 3", "Chapter 4", "Chapter 5"],
}


@pytest.mark.parametrize("case", CASES)
def test_given_cases(case, shared):
    path = shared / "cases" / "library" / f"{case}.epub"
    novel = read_novel(path)
    assert [unit.name for unit in novel.chapters] == CASES[case]
    words = sum(len(unit.text.split()) for unit in novel.chapters)
    with zipfile.ZipFile(path) as archive:
        printed = sum(archive.read(name).count(b" ") for name in archive.namelist() if name.endswith(".xhtml"))
    assert words > 0.9 * printed  # nothing of the prose is lost
    if "dropcap" in case:
        assert all(unit.text.startswith("The lamp was lit.") for unit in novel.chapters)
    if "table" in case:
        assert all(unit.text.endswith("coming home on Friday with the money.") for unit in novel.chapters)
    if "missing" in case:
        assert any("cover.xhtml" in warning for warning in read_epub(str(path)).warnings)


@pytest.mark.parametrize(
    ("opening", "text"),
    [
        ('<p><img src="x.png" alt="T"/>he lamp was lit.</p>', "The lamp was lit."),
        ('<p><img src="x.png" alt="Drop cap T"/>he lamp was lit.</p>', "The lamp was lit."),
        ('<p><img src="images/initial-t.png" alt=""/>he lamp was lit.</p>', "The lamp was lit."),
        ('<div class="figleft"><img src="x.png" alt="T"/></div><p>HE lamp was lit.</p>', "THE lamp was lit."),
        ('<p><span class="drop-cap">T</span> he lamp was lit.</p>', "The lamp was lit."),
        ('<p><span class="dropcap">“T</span>\n<small>he</small> lamp was lit.”</p>', "“The lamp was lit.”"),
        ('<p><img src="x.png" alt="A"/> lamp was lit.</p>', "A lamp was lit."),
        ('<p><span class="dropcap">I</span> lit the lamp.</p>', "I lit the lamp."),
        ('<p><span class="dropcap">I</span>t was lit.</p>', "It was lit."),
        ('<p><span class="small-caps">The</span> lamp was lit.</p>', "The lamp was lit."),
        ('<p><img src="x.png" alt="A map of the valley"/>The lamp was lit.</p>', "The lamp was lit."),
        ("<p>The la&#173;mp w\u00adas&nbsp;lit.</p>", "The lamp was lit."),
        ('<p>The lamp<a href="n.xhtml#n1"><sup>1</sup></a> was lit.</p>', "The lamp was lit."),
        ('<p>The lamp<sup>2</sup> was <span class="pagenum">[Pg 7]</span>lit.</p>', "The lamp was lit."),
        ('<p>The lamp <a epub:type="noteref" href="#n1">*</a>was lit.</p>', "The lamp was lit."),
        ("<p>The 21<sup>st</sup> lamp &eacute;clair.</p>", "The 21st lamp éclair."),
        ("<p>The lamp<br/>was lit.<br/><br/>It went out.</p>", "The lamp\nwas lit."),
    ],
)
def test_paragraphs_are_read_as_a_reader_sees_them(opening, text, tmp_path):
    book = read_epub(str(write_epub(tmp_path / "b.epub", {"c.xhtml": page(opening)})))
    assert book.text.split("\n\n")[0] == text


def test_a_letter_that_only_a_picture_shows_is_said(tmp_path):
    picture = '<p><img src="ornament.png" alt=""/>he lamp was lit.</p>'
    book = read_epub(str(write_epub(tmp_path / "b.epub", {"c.xhtml": page(picture)})))
    assert any("he lamp was lit." in warning for warning in book.warnings)


def test_pages_have_encodings_of_their_own(tmp_path):
    declared = '<?xml version="1.0" encoding="{}"?><html><body><p>The café in Łódź — “naïve”.</p></body></html>'
    western = "<html><body><p>The café was “naïve”.</p></body></html>"
    pages = {
        "utf8.xhtml": declared.format("utf-8").encode(),
        "utf16.xhtml": declared.format("utf-16").encode("utf-16"),
        "polish.xhtml": declared.format("cp1250").encode("cp1250", "replace"),
        "silent.xhtml": western.encode("cp1252"),
        "wrong.xhtml": declared.format("iso-8859-1").encode(),
    }
    text = read_epub(str(write_epub(tmp_path / "b.epub", pages))).text
    assert text.split("\n\n\n")[0] == "The café in Łódź — “naïve”."
    assert text.count("Łódź — “na") == 4
    assert "The café was “naïve”." in text
    assert "\ufffd" not in text


def test_missing_and_damaged_pages_are_skipped_and_said(tmp_path):
    pages = {"cover.xhtml": None, **{f"c{n}.xhtml": chapter(n, f"<h2>Chapter {n}</h2>") for n in range(1, 5)}}
    path = write_epub(tmp_path / "b.epub", pages)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("OPS/c3.xhtml").header_offset
    data[start + 60 : start + 90] = bytes(30)
    path.write_bytes(data)
    book = read_epub(str(path))
    assert ["cover.xhtml" in warning for warning in book.warnings] == [True, False]
    assert "c3.xhtml" in book.warnings[1]
    assert [unit.name for unit in read_novel(path).chapters] == ["Chapter 1", "Chapter 2", "Chapter 4"]


def test_a_book_without_a_readable_page_is_refused(tmp_path):
    path = write_epub(tmp_path / "b.epub", {"c1.xhtml": None})
    with pytest.raises(BrokenEpub, match="c1"):
        read_epub(str(path))
    with pytest.raises(InputError, match="no readable EPUB"):
        read_novel(path)


def test_pictures_are_never_loaded(tmp_path):
    pages = {f"c{n}.xhtml": chapter(n, f"<h2>Chapter {n}</h2>") for n in range(1, 4)}
    path = write_epub(tmp_path / "b.epub", pages, extra={f"OPS/p{n}.jpg": bytes(10 << 20) for n in range(5)})
    tracemalloc.start()
    try:
        book = read_epub(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert book.text.count("## Chapter") == 3
    assert peak < 5 << 20


TITLES = ("The Gate", "The Ferry", "Snow", "The Road Home")


@pytest.mark.parametrize(
    ("printed", "listed"),
    [
        ("<p class='x'>{title}</p>", "{title}"),
        ("<p class='x'>{title}</p>", "{number}. {title}"),
        ("<p class='x'>{number}</p><p class='y'>{title}</p>", "{number}. {title}"),
        ("<p class='chapterhead'>{title}</p>", ""),
        ("<div class='chapter-title'>{title}</div>", ""),
        ("<h2><img src='h.png' alt='{title}'/></h2>", ""),
        ("", "{title}"),
    ],
)
@pytest.mark.parametrize("kind", ["nav", "ncx"])
def test_headings_without_heading_tags(printed, listed, kind, tmp_path):
    pages, nav, ncx = {}, "", ""
    for number, title in enumerate(TITLES, 1):
        pages[f"c{number}.xhtml"] = chapter(number, printed.format(number=number, title=title))
        entry = listed.format(number=number, title=title)
        nav += f'<li><a href="c{number}.xhtml">{entry}</a></li>'
        ncx += f'<navPoint><navLabel><text>{entry}</text></navLabel><content src="c{number}.xhtml"/></navPoint>'
    contents = {kind: nav if kind == "nav" else ncx} if listed else {}
    path = write_epub(tmp_path / "b.epub", pages, **contents)
    units = read_novel(path).chapters
    assert len(units) == len(TITLES)
    assert all(unit.name.endswith(title) for unit, title in zip(units, TITLES, strict=True))
    assert [len(unit.text.split()) for unit in units] == [len(prose(12, seed=n).split()) for n in range(1, 5)]
    if listed:
        book = read_epub(str(path))
        lines = book.text.split("\n")
        assert [entry.title for entry in book.navigation] == [
            listed.format(number=n, title=t) for n, t in enumerate(TITLES, 1)
        ]
        assert all(lines[entry.line - 1] for entry in book.navigation)


def test_apparatus_is_left_out_and_said(tmp_path):
    pages = {
        "toc.xhtml": page("".join(f'<p><a href="c{n}.xhtml">Chapter {n}</a></p>' for n in range(1, 5))),
        **{f"c{n}.xhtml": chapter(n, f"<h2>Chapter {n}</h2>") for n in range(1, 4)},
        "c4.xhtml": page(
            '<h2>Chapter 4</h2><p>She wept<a id="r1" href="notes.xhtml#n1"><sup>1</sup></a> at the gate.</p>'
            f'{paragraphs(prose(12, seed=4))}<aside epub:type="footnote"><p>A note to skip.</p></aside>'
        ),
        "notes.xhtml": page('<p><a id="n1" href="c4.xhtml#r1">1</a> Another note to skip.</p>'),
    }
    path = write_epub(tmp_path / "b.epub", pages)
    book = read_epub(str(path))
    assert "skip" not in book.text
    assert "She wept at the gate." in book.text
    reasons = {dropped.reason: dropped.words for dropped in book.dropped}
    assert reasons["contents page"] == 8
    assert sum(d.words for d in book.dropped if d.reason == "footnotes") == 9
    assert all(1 <= d.first_line <= len(book.text.split("\n")) for d in book.dropped)
    assert len(read_novel(path).chapters) == 4


def test_tables_are_text_unless_they_list_pages(tmp_path):
    letter = "<table><tr><td>Dear Anna,</td></tr><tr><td>the mill</td><td>is sold.</td></tr></table>"
    rows = "".join(f'<tr><td><a href="c.xhtml#{n}">Chapter {n}</a></td></tr>' for n in range(4))
    listing = f"<table>{rows}</table>"
    text = read_epub(str(write_epub(tmp_path / "b.epub", {"c.xhtml": page(letter + listing)}))).text
    assert text == "Dear Anna,\nthe mill is sold."


def test_tag_soup_is_read_as_a_browser_reads_it(tmp_path):
    soup = "<html><body><h2>Chapter 1</h2><p>One & two<br>three<p>four <i>five</p><hr><p>six</body>"
    text = read_epub(str(write_epub(tmp_path / "b.epub", {"c.xhtml": soup}))).text
    assert text == "## Chapter 1\n\nOne & two\nthree\n\nfour five\n\n* * *\n\nsix"


def test_who_wrote_what_comes_from_the_package(tmp_path):
    metadata = (
        '<dc:title>Another Title</dc:title><meta refines="#t" property="title-type">main</meta>'
        '<dc:creator opf:role="aut">Émile Writer</dc:creator><dc:creator opf:role="aut">B. Second</dc:creator>'
        '<dc:contributor id="w">Jane Translator</dc:contributor><meta refines="#w" property="role">trl</meta>'
        '<dc:contributor opf:role="ill">N. Painter</dc:contributor>'
        "<dc:publisher>The Press</dc:publisher><dc:date>1911-03-01</dc:date><dc:language>en-GB</dc:language>"
    )
    book = read_epub(str(write_epub(tmp_path / "b.epub", {"c.xhtml": page("<p>Text.</p>")}, metadata=metadata)))
    assert (book.title, book.author) == ("Another Title", "Émile Writer and B. Second")
    assert (book.translator, book.edition, book.language) == ("Jane Translator", "The Press, 1911", "en-GB")


def test_a_container_that_is_lost_is_no_loss(tmp_path):
    path = write_epub(tmp_path / "b.epub", {"c.xhtml": page("<p>Text.</p>")}, metadata=METADATA)
    bare = tmp_path / "bare.epub"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bare, "w") as new:
        for name in old.namelist():
            if name != "META-INF/container.xml":
                new.writestr(name.replace("c.xhtml", "C.XHTML"), old.read(name))
    assert read_epub(str(bare)).text == "Text."
