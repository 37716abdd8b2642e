"""An EPUB's table of contents against the headings on its pages, and who its package says wrote it."""

from polaris_jax.library import read_novel, segment_record
from tests.library.conftest import prose
from tests.library.epub_files import METADATA, page, paragraphs, write_epub

TITLES = ("The Grey Horse", "A Broken Bridge", "The Road Home", "Late Snow", "Salt")


def _sections(title, count, seed):
    text = "".join(f"<h3 id='s{n}'>{'I' * n}</h3>{paragraphs(prose(5, seed=seed + n))}" for n in range(1, count + 1))
    return page(f"<h2>{title}</h2>{text}")


def test_numbered_sections_of_one_chapter_are_not_the_chapters_of_the_book(tmp_path):
    pages = {f"c{n}.xhtml": page(f"<h2>{t}</h2>{paragraphs(prose(12, seed=n))}") for n, t in enumerate(TITLES)}
    pages["c0.xhtml"] = _sections(TITLES[0], 3, seed=40)
    nav = "".join(f'<li><a href="c{n}.xhtml">{t}</a></li>' for n, t in enumerate(TITLES))
    units = read_novel(write_epub(tmp_path / "b.epub", pages, nav=nav)).chapters
    assert [unit.name for unit in units] == list(TITLES)
    assert len(units[0].scenes) >= 3


def test_a_contents_of_parts_leaves_the_chapters_to_the_pages(tmp_path):
    pages, nav, number = {}, "", 0
    for part in ("One", "Two", "Three"):
        text = ""
        for _ in range(3):
            number += 1
            text += f"<h3>Chapter {number}</h3>{paragraphs(prose(12, seed=number))}"
        pages[f"p{part}.xhtml"] = page(f"<h2>Part {part}</h2>{text}")
        nav += f'<li><a href="p{part}.xhtml">Part {part}</a></li>'
    record = segment_record(read_novel(write_epub(tmp_path / "b.epub", pages, nav=nav)))
    assert record["chapter_count"] == 9


def test_chapters_nested_under_parts_are_the_chapters(tmp_path):
    pages, nav = {}, ""
    for part in range(3):
        inner = ""
        for n in (2 * part, 2 * part + 1):
            pages[f"c{n}.xhtml"] = page(f"<p>{TITLES[n % 5]}{n}</p>{paragraphs(prose(12, seed=n))}")
            inner += f'<li><a href="c{n}.xhtml">{TITLES[n % 5]}{n}</a></li>'
        nav += f'<li><a href="c{2 * part}.xhtml">Part {part + 1}</a><ol>{inner}</ol></li>'
    units = read_novel(write_epub(tmp_path / "b.epub", pages, nav=nav)).chapters
    assert [unit.name.rpartition(" - ")[2] for unit in units] == [f"{TITLES[n % 5]}{n}" for n in range(6)]


def test_a_person_may_have_several_roles(tmp_path):
    people = (
        "<dc:title>The Grey Horse</dc:title>"
        + '<dc:creator id="a">A. Writer</dc:creator>'
        + "".join(f'<meta property="role" refines="#a" scheme="marc:relators">{role}</meta>' for role in ("aut", "dto"))
    )
    pages = {"c.xhtml": page(paragraphs(prose(40)))}
    assert read_novel(write_epub(tmp_path / "b.epub", pages, metadata=people)).author == "A. Writer"
    assert read_novel(write_epub(tmp_path / "c.epub", pages, metadata=METADATA)).author == "A. Writer"
