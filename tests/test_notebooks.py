"""Every notebook runs from top to bottom in an empty folder, as on Colab, and equals what ``build.py`` makes."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONG = ("adapt_to_manuscripts",)  # half a minute: five programs are compiled


def built():
    spec = importlib.util.spec_from_file_location("build_notebooks", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_it_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel to run the notebooks")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("POLARIS_PLAN_CACHE", str(tmp_path / "plans"))
    monkeypatch.setenv("PYTHONPATH", f"{FOLDER.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    said = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert said
    assert not [output for output in said if output["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_with_a_badge_and_an_install_cell_and_holds_small_outputs(path):
    content = path.read_text(encoding="utf-8")
    first, second, *rest = json.loads(content)["cells"]
    address = f"colab.research.google.com/github/{built().REPOSITORY}/blob/main/notebooks/{path.name}"
    assert address in "".join(first["source"])
    assert "pip install" in "".join(second["source"])
    kept = [output for cell in rest for output in cell.get("outputs", ())]
    assert len(kept) >= 3
    assert not [output for output in kept if output["output_type"] == "error"]
    assert str(FOLDER.parent) not in content
    assert len(content) < 500_000


def test_they_are_what_their_sources_say():
    sources = sorted((FOLDER / "source").glob("*.py"))
    assert [source.stem for source in sources] == [path.stem for path in NOTEBOOKS]
    for source, path in zip(sources, NOTEBOOKS, strict=True):
        text = built().notebook(source.stem, source.read_text(encoding="utf-8"))
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert built().as_text(built().without_outputs(stored)) == text, "run python notebooks/build.py"
