"""Word processors' files: text without formatting, and novels that are read like any other."""

import re
from importlib.resources import files

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.library.word_processor import read_word

pandoc = pytest.importorskip("pypandoc", reason="pip install 'polaris-jax[documents]' to read .docx and .odt")
NOVEL = files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt"


def test_a_word_file_loses_its_formatting_and_says_what_else(tmp_path):
    source = "# One\n\nIt was *cold*[^1] --- [there](http://x).\n\n[^1]: A note.\n\n"
    source += "| a | b |\n|---|---|\n| c | d |\n\n- e\n- f\n"
    pandoc.convert_text(source, "docx", format="markdown", outputfile=str(tmp_path / "x.docx"))
    word = read_word((tmp_path / "x.docx").read_bytes(), "x.docx")
    assert word.text == "# One\n\nIt was cold — there.\n\na | b\nc | d\n\n- e\n- f\n"
    assert word.dropped == ("1 footnote",)


def letters(novel):
    return [re.sub(r"[\W_]+", "", chapter.text) for chapter in novel.chapters]


@pytest.mark.parametrize("form", ["docx", "odt"])
def test_a_novel_from_a_word_processor_is_the_novel(form, tmp_path):
    plain = read_novel(str(NOVEL))
    chapters = plain.chapters[:6]
    text = "\n\n".join(f"# {chapter.name}\n\n{chapter.text}" for chapter in chapters)
    path = tmp_path / f"novel.{form}"
    pandoc.convert_text(text, form, format="markdown-smart", outputfile=str(path))
    found = read_novel(path)
    assert found.accepted, found.reason
    assert found.encoding == form
    assert [chapter.name for chapter in found.chapters] == [chapter.name for chapter in chapters]
    assert letters(found) == letters(plain)[:6]


def test_what_a_document_lost_is_a_warning_and_a_broken_one_is_one_line(tmp_path):
    path = tmp_path / "notes.docx"
    text = f"# Chapter 1\n\n{'She let the rope go and went up to the house. ' * 300}[^1]\n\n[^1]: A note.\n"
    pandoc.convert_text(text, "docx", format="markdown", outputfile=str(path))
    assert any("1 footnote" in warning for warning in read_novel(path, verdict="accept").account.warnings)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError) as refused:
        read_novel(path)
    assert "\n" not in str(refused.value)
