"""An exported book has title, chapter names and prose, and nothing of the plan."""

import xml.etree.ElementTree as ET
import zipfile

from polaris_jax.sampling.export import export_epub, export_text, readable
from polaris_jax.trajectory import join_stages

TRANSCRIPT = join_stages(
    [
        ("prompt", "A short book, please."),
        (
            "book_preview",
            "## Book Highlight\nIt is short.\n\n## Book Title\nTea & Sugar: a Tale?\n\n## Book Tags\n- tea",
        ),
        ("first_chapter_plan", "### One\n**Word Count:** 10"),
        ("first_chapter_text", "### One\n```\n“Tea,” he said.\n\nShe poured < two cups & waited.\n```"),
        ("scene_breakdown", "### Two\n#### Scene 1: Later"),
        ("chapter_text", "### Two\n```\nIt was cold.\n```"),
    ]
)


def test_plain_text_is_title_names_and_prose(tmp_path):
    path = export_text(TRANSCRIPT, tmp_path)
    assert path.name == "Tea & Sugar a Tale.txt"
    assert path.read_text() == (
        "Tea & Sugar: a Tale?\n\n\nOne\n\n“Tea,” he said.\n\nShe poured < two cups & waited.\n\n\nTwo\n\nIt was cold.\n"
    )


def test_a_book_in_progress_can_be_read_so_far():
    cut = TRANSCRIPT[: TRANSCRIPT.index("It was")]
    assert [name for name, _ in readable(cut).chapters] == ["One"]


def test_epub_is_well_formed_complete_and_reproducible(tmp_path):
    path = export_epub(TRANSCRIPT, tmp_path / "a", author="A. Model")
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read("mimetype") == b"application/epub+zip"
        names = set(archive.namelist())
        pages = {name: ET.fromstring(archive.read(name)) for name in names - {"mimetype"}}
    opf = "{http://www.idpf.org/2007/opf}"
    manifest = {item.get("href"): item.get("id") for item in pages["content.opf"].iter(f"{opf}item")}
    assert set(manifest) == names - {"mimetype", "META-INF/container.xml", "content.opf"}
    spine = [item.get("idref") for item in pages["content.opf"].iter(f"{opf}itemref")]
    assert spine == [manifest["nav.xhtml"], manifest["chapter-1.xhtml"], manifest["chapter-2.xhtml"]]
    assert "".join(pages["chapter-1.xhtml"].itertext()).endswith("She poured < two cups & waited.\n\n")
    assert export_epub(TRANSCRIPT, tmp_path / "b", author="A. Model").read_bytes() == path.read_bytes()


def test_no_title_can_take_the_place_of_the_transcript_or_be_too_long_for_a_file(tmp_path):
    for title, name in (("Artifact", "Book Artifact.txt"), ("é" * 300, "é" * 100 + ".txt"), ("???", "book.txt")):
        transcript = TRANSCRIPT.replace("Tea & Sugar: a Tale?", title)
        assert export_text(transcript, tmp_path).name == name
        assert export_epub(transcript, tmp_path).exists()
