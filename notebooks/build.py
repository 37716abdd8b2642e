"""Writes the notebooks from ``source/*.py``: cells apart at ``# %%`` lines, text cells at ``# %% [markdown]``.

    python notebooks/build.py            write notebooks/*.ipynb
    python notebooks/build.py --check    say which of them differ from their source (exit code 1), write nothing

Every notebook gets a badge and a cell that installs the package where it is missing (Colab). Edit the source.
"""

import argparse
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = "polaris-jax/polaris_jax"
BADGE = ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
         f"(https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{{name}}.ipynb)\n\n")  # fmt: skip
INSTALL = f"""# Installs polaris_jax where it is missing, as on Colab.
import importlib.util

if importlib.util.find_spec('polaris_jax') is None:
    %pip install -q git+https://github.com/{REPOSITORY}"""


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
    return json.dumps({
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(made)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                     "language_info": {"name": "python"}},
        "nbformat": 4, "nbformat_minor": 5,
    }, indent=1, ensure_ascii=False) + "\n"  # fmt: skip


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
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            stale.append(target.name)
            if not check:
                target.write_text(text, encoding="utf-8")
    print("\n".join(f"{name}: {'differs from its source' if check else 'written'}" for name in stale))
    return bool(check and stale)


if __name__ == "__main__":
    sys.exit(main())
