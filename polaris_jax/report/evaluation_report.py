"""``evaluation.html``: an evaluation on one page, made from the ``evaluation.json`` in its folder."""

import json
import os

from markupsafe import Markup

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.report.evaluation_charts import bars_chart, colour, lines_chart
from polaris_jax.report.page import render

PAGE, SOURCE = "evaluation.html", "evaluation.json"
FORMAT = "polaris-evaluation-1"


def write_evaluation(out: str | os.PathLike) -> str:
    """Writes the page beside its JSON, in a local folder or a bucket; returns its address.

    Raises:
      InputError: the folder holds no evaluation.
    """
    folder = os.fspath(out)
    content = storage.read_json(storage.join(folder, SOURCE))
    if content is None or content.get("format") != FORMAT:
        raise InputError("evaluation", folder, f"holds no readable {SOURCE}")
    page = storage.join(folder, PAGE)
    storage.write(page, evaluation_page(content).encode())
    return page


def evaluation_page(content: dict) -> str:
    """The page of an evaluation's JSON."""
    sections = [section | {"anchor": f"s{number}"} for number, section in enumerate(content["sections"])]
    facts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in content["facts"].items()
    }
    return render(
        "evaluation.html",
        title=content["title"],
        lead=content["lead"],
        sections=sections,
        facts=facts,
        chart=_chart,
        colour=colour,
    )


def _chart(part: dict) -> Markup | None:
    return lines_chart(part) if part["kind"] == "lines" else bars_chart(part)
