"""The pages that follow a batch and a book: each hop exists in the code, and the drawing is made from the page."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DRAWING = runpy.run_path(str(ROOT / "docs" / "draw_lives.py"))


@pytest.mark.parametrize("page", DRAWING["PAGES"])
def test_every_hop_is_a_name_in_a_real_file_and_the_drawing_is_of_this_page(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    hops = DRAWING["hops"](text)
    assert [hop.number for hop in hops] == list(range(1, len(re.findall(r"^\d+\. ", text, re.MULTILINE)) + 1))
    assert len(hops) > 10
    for hop in hops:
        assert len(DRAWING["_wrapped"](hop.gives)) <= 2, f"{hop}: does not fit into its box"
        source = (ROOT / "docs" / hop.file).resolve().read_text(encoding="utf-8")
        assert re.search(rf"^ *(?:def|class) {hop.name}\b", source, re.MULTILINE), hop
    drawn = (ROOT / "docs" / f"{page}.svg").read_text(encoding="utf-8")
    assert drawn == DRAWING["draw"](hops), "run python docs/draw_lives.py"
    assert f"({page}.svg)" in text


def documents():
    return [
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "README.md",
        *(p.relative_to(ROOT) for p in (ROOT / "docs").rglob("*.md")),
    ]


@pytest.mark.parametrize("document", documents(), ids=str)
def test_links_to_files_of_the_repository_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text):
        made = re.search(r"(?:^|/)(?:reference/.*|results)\.md$", target)  # pages that only the site has
        if not made and not re.match(r"[a-z]+:", target):
            assert ((ROOT / document).parent / target).exists(), target
