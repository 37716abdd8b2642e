"""``polaris write`` with an outline, a manuscript, a style sheet and forbidden phrases."""

import json

import pytest

from polaris_jax.cli import main
from polaris_jax.trajectory import split_stages

OUTLINE = "# The Tide Book\nA keeper hides a ledger.\n\n## The Lamp\n- Mara finds it\n## The Storm\n## 灯塔\n"


@pytest.fixture
def write(checkpoint, tmp_path, capsys):
    """``write(*flags)``: ``(exit code, what it said, the book's folder)``."""

    def run(*flags):
        out = tmp_path / "book"
        sizes = ("--window=4096", "--chapter-words=50-60", "--until=book_preview")
        code = main(["write", f"--checkpoint={checkpoint}", f"--out={out}", *sizes, *flags])
        return code, capsys.readouterr().err, out

    return run


def test_an_outline_gives_prompt_title_chapters_and_scripts(write, tmp_path):
    (tmp_path / "outline.md").write_text(OUTLINE)
    (tmp_path / "style.txt").write_text("- short sentences\n\nno adverbs\n")
    (tmp_path / "forbid.txt").write_text("a testament to\n")
    files = {"outline": "outline.md", "style": "style.txt", "forbid": "forbid.txt"}
    code, said, out = write(*(f"--{flag}={tmp_path / name}" for flag, name in files.items()))
    assert code == 0, said
    stages = split_stages((out / "artifact.txt").read_text())
    assert stages[0].text == "A keeper hides a ledger."
    assert "## Book Title\nThe Tide Book\n" in stages[1].text
    run = json.loads((out / "run.json").read_text())["identity"]
    assert run["profile"]["chapters"] == [3, 3]
    assert run["profile"]["scripts"] == ["cjk"]
    assert run["profile"]["outline"]["style"] == ["short sentences", "no adverbs"]
    assert run["settings"]["forbidden"] == ["a testament to"]


def test_a_manuscript_has_room_for_further_chapters(write, tmp_path):
    (tmp_path / "draft.txt").write_text("Chapter 1\n\nHe ran.\n\nChapter 2\n\nIt rained.\n\nChapter 3\n\nShe sat.\n")
    code, said, out = write("--prompt=Rain.", f"--continue={tmp_path / 'draft.txt'}")
    assert code == 0, said
    profile = json.loads((out / "run.json").read_text())["identity"]["profile"]
    assert profile["chapters"] == [4, 12]
    assert [chapter["name"] for chapter in profile["outline"]["chapters"]] == ["Chapter 1", "Chapter 2", "Chapter 3"]


@pytest.mark.parametrize("form", ["docx", "odt"])
def test_a_word_processors_manuscript_goes_on_like_a_text(write, tmp_path, form):
    pypandoc = pytest.importorskip("pypandoc")
    manuscript = (
        "---\ntitle: The Tide\nauthor: A. Wren\n---\n\n# One\n\nHe ran.[^1]\n\n# Two\n\nIt *rained* and\n\n[^1]: Far."
    )
    pypandoc.convert_text(manuscript, form, format="markdown", outputfile=str(tmp_path / f"draft.{form}"))
    code, said, out = write("--prompt=Rain.", f"--continue={tmp_path / f'draft.{form}'}")
    assert code == 0, said
    assert "1 footnote" in said
    outline = json.loads((out / "run.json").read_text())["identity"]["profile"]["outline"]
    assert outline["title"] == "The Tide"
    assert [(c["name"], c["text"], c["finished"]) for c in outline["chapters"]] == [
        ("One", "He ran.", True),
        ("Two", "It rained and", False),
    ]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--continue=DIR/draft.docx", "--prompt=x"], "cannot be read"),
        (["--continue=DIR/draft.pdf", "--prompt=x"], "save it as .docx"),
        (["--continue=DIR/draft.md", "--outline=DIR/outline.md"], "not both"),
        (["--outline=DIR/missing.md"], "cannot be read"),
        (["--outline=DIR/bad.md", "--prompt=x"], "line 2"),
        (["--outline=DIR/empty.md", "--prompt=x"], "says nothing"),
        (["--outline=DIR/nameless.md", "--prompt=x"], "line 3='##': is a heading without a name"),
        (["--outline=DIR/count.md", "--prompt=x"], "line 3='##': is a heading without a name"),
        (["--outline=DIR/binary.md", "--prompt=x"], "is no text: character 4 is U+0000"),
        (["--continue=DIR/empty.md", "--prompt=x"], "has no text in it"),
        (["--continue=DIR/long.txt", "--prompt=x"], "raise --window, or continue from a shorter part"),
        (["--continue=DIR/binary.md", "--prompt=x"], "is no text"),
        (["--continue=DIR/latin.txt", "--prompt=x"], "(byte 3 is 0xe9); save it as UTF-8"),
        (["--continue=DIR/text.docx", "--prompt=x"], "is no .docx file, whatever its name says"),
        (["--scripts=runes", "--prompt=x"], "runes"),
        (["--redo-scene=2.1", "--prompt=x"], "there is no book"),
        (["--engine=vllm", "--prompt=x"], "needs --server"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(write, tmp_path, flags, told):
    (tmp_path / "outline.md").write_text(OUTLINE)
    (tmp_path / "draft.md").write_text("# A\n\nText.")
    (tmp_path / "draft.pdf").write_text("%PDF")
    (tmp_path / "empty.md").write_text(" \n---\n")
    (tmp_path / "nameless.md").write_text("# A\nB.\n## \n- c\n")
    (tmp_path / "count.md").write_text("# A\nB.\n## (1200 words)\n- c\n")
    (tmp_path / "binary.md").write_text("# A\0\n")
    (tmp_path / "long.txt").write_text("Nobody doubted him on Saturdays.\n\n" * 900)
    (tmp_path / "latin.txt").write_bytes("Café.".encode("latin-1"))
    (tmp_path / "text.docx").write_text("He ran.")
    (tmp_path / "bad.md").write_text(f"# A\n## {'x' * 200}\n")
    code, said, out = write(*(flag.replace("DIR", str(tmp_path)) for flag in flags))
    assert (code, told in said, "\n" in said.strip()) == (2, True, False), said
    assert not out.exists()
