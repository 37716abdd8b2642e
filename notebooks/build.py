"""Writes the notebooks from ``source/*.py``: cells apart at ``# %%`` lines, text cells at ``# %% [markdown]``.

    python notebooks/build.py            write and run notebooks/*.ipynb, with small outputs kept for those who only read
    python notebooks/build.py --check    say which of them differ from their source (exit code 1), write nothing

Every notebook gets a badge and a cell that installs the package where it is missing (Colab). Edit the source. Running
needs nbclient and ipykernel (extra: notebooks).
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINES, BYTES = 40, 120_000  # limits of a kept output
REPOSITORY = "polaris-jax/polaris_jax"
BADGE = ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
         f"(https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{{name}}.ipynb)\n\n")
INSTALL = f"""# Installs polaris_jax where it is missing, as on Colab. The NumPy that is there stays: the kernel may have loaded it.
import importlib.metadata
import importlib.util

if importlib.util.find_spec('polaris_jax') is None:
    kept = ' '.join(f'numpy=={{found.version}}' for found in importlib.metadata.distributions(name='numpy'))
    %pip install -q git+https://github.com/{REPOSITORY} {{kept}}"""


def cells(source: str) -> list[tuple[str, str]]:
    """``(kind, text)`` of every cell; the comment marks of text cells are taken off."""
    found = []
    for block in re.split(r"^# %%", source, flags=re.M)[1:]:
        head, _, body = block.partition("\n")
        if "[markdown]" in head:
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.M).strip()))
        else:
            found.append(("code", body.strip()))
    return found


def notebook(name: str, source: str) -> str:
    """The .ipynb as text: the title with a badge, the install cell, then the cells of the source."""
    (first, title), *rest = cells(source)
    if first != "markdown":
        raise ValueError(f"{name}: a notebook opens with a text cell")
    made = [("markdown", BADGE.format(name=name) + title), ("code", INSTALL), *rest]
    return as_text({
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(made)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                     "language_info": {"name": "python"}},
        "nbformat": 4, "nbformat_minor": 5,
    })


def as_text(content: dict) -> str:
    """The file of a notebook."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def without_outputs(content: dict) -> dict:
    """A notebook as ``notebook`` made it."""
    cells = [cell | ({"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {})
             for cell in content["cells"]]
    return content | {"cells": cells}


def with_outputs(content: dict) -> dict:
    """A notebook after a run on the CPU in an empty folder; of its outputs what is small, long texts cut."""
    import nbclient
    import nbformat

    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"JAX_PLATFORMS": "cpu", "POLARIS_PLAN_CACHE": f"{place}/plans"}
        os.environ["PYTHONPATH"] = f"{HERE.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        ran = nbformat.reads(as_text(content), as_version=4)
        nbclient.NotebookClient(
            ran, timeout=900, kernel_name="python3", resources={"metadata": {"path": place}}
        ).execute()
    cells = []
    for cell, after in zip(content["cells"], ran.cells, strict=True):
        kept = [small(output) for output in after.get("outputs", ()) if output.get("name") != "stderr"]
        cells.append(cell | ({"outputs": [one for one in kept if one]} if cell["cell_type"] == "code" else {}))
    return json.loads(json.dumps(content | {"cells": cells}).replace(f"{place}/", ""))


def small(output: dict) -> dict | None:
    """An output as it is kept: a text at most ``LINES`` lines, a picture or page at most ``BYTES``; else None."""
    if output["output_type"] == "stream":
        return dict(output) | {"text": cut(output["text"])}
    data = {kind: cut(value) if kind == "text/plain" else value for kind, value in output.get("data", {}).items()}
    data = {kind: value for kind, value in data.items() if len(json.dumps(value)) <= BYTES}
    return {"output_type": "display_data", "metadata": {}, "data": data} if data else None


def cut(text: str) -> str:
    """The first ``LINES`` lines of a text."""
    lines = text.splitlines(keepends=True)
    return text if len(lines) <= LINES else "".join(lines[:LINES]) + f"... {len(lines) - LINES} more lines\n"


def _cell(number: int, kind: str, text: str) -> dict:
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check, stale = parser.parse_args().check, []
    for source in sorted((HERE / "source").glob("*.py")):
        target = HERE / f"{source.stem}.ipynb"
        text = notebook(source.stem, source.read_text(encoding="utf-8"))
        before = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"cells": []}
        if not check:
            text = as_text(with_outputs(json.loads(text)))
            target.write_text(text, encoding="utf-8")
            stale.append(target.name)
        elif as_text(without_outputs(before)) != text:
            stale.append(target.name)
    print("\n".join(f"{name}: {'differs from its source' if check else 'written'}" for name in stale))
    return bool(check and stale)


if __name__ == "__main__":
    sys.exit(main())
