"""Results as Markdown, as LaTeX, and as a page that a browser shows without a network."""

import json
from pathlib import Path

import pytest

from polaris_jax.errors import InputError
from polaris_jax.evals.documents import BarChart, Curve, Document, DocumentSection, LineChart, Table, write_document
from polaris_jax.evals.documents.formats import show
from polaris_jax.evals.intervals import Interval
from polaris_jax.report import write_evaluation

TABLE = Table(
    "A & B",
    ["model_name", "n", "score"],
    [["x|y", 1200, Interval(57.44, 55.0, 60.123)], ["z", 3, None]],
    "100 % of them",
)
DOCUMENT = Document(
    "Study <1>",
    "Lead.",
    [
        DocumentSection(
            "One",
            "Text.",
            [
                TABLE,
                LineChart(
                    "Curve",
                    [Curve("a", [(1000, 5, 4, 6), (12000, -3, -4, -2)]), Curve("b", [(1000, 2.5)]), Curve("c", [])],
                    "words",
                    "score",
                    (1000, 4000),
                    "trained on",
                ),
                LineChart("Nothing", [Curve("a", [])], "x", "y"),
                BarChart(
                    "Bars", [("a very long name of a model, cut", Interval(10, 8, 12)), ("b", Interval(-2, -3, 1))]
                ),
                Table("Unknown", ["model", "slope"], [["a", Interval(float("nan"), float("nan"), float("nan"))]]),
                LineChart("Gap", [Curve("a", [(1, float("nan")), (2, 3.0, 2.0, float("inf"))])], "x", "y"),
                BarChart("No bar", [("a", Interval(float("nan"), 0.0, 1.0))]),
            ],
        ),
    ],
    {"judge": "openai/x", "cost": {"usd": 1.5}},
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1200, "1,200"),
        (57.44, "57.4"),
        (2.345, "2.35"),
        (0.07249, "0.072"),
        (-0.5, "−0.500"),
        (None, "–"),
        (float("nan"), "–"),
        ("text", "text"),
        (True, "yes"),
        (Interval(5.0, 5.0, 5.0), "5.00"),
        (Interval(0.5, 0.25, 0.75), "0.500 [0.250, 0.750]"),
    ],
)
def test_cells(cell, text):
    assert show(cell) == text


@pytest.fixture
def out(tmp_path):
    write_document(DOCUMENT, tmp_path)
    return tmp_path


def test_markdown_and_latex_can_be_pasted(out):
    markdown = (out / "tables.md").read_text()
    assert "| model_name | n | score |\n|---|---:|---:|\n| x\\|y | 1,200 | 57.4 [55.0, 60.1] |" in markdown
    latex = (out / "tables.tex").read_text()
    assert r"model\_name & n & score \\" in latex
    assert r"\begin{tabular}{lrr}" in latex
    assert r"\caption{A \& B. 100 \% of them}" in latex
    assert latex.count(r"\begin{") == latex.count(r"\end{")


def test_json_keeps_numbers_beside_their_text(out):
    found = json.loads((out / "evaluation.json").read_text())
    table = found["sections"][0]["parts"][0]
    assert table["values"][0] == ["x|y", 1200, {"value": 57.44, "low": 55.0, "high": 60.123}]
    assert table["rows"][0][2] == "57.4 [55.0, 60.1]"


def test_json_has_null_for_numbers_that_are_not_finite(out):
    def refuse(name):
        raise AssertionError(f"{name} in the JSON")

    found = json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    unknown, gap, no_bar = found["sections"][0]["parts"][-3:]
    assert (unknown["rows"], unknown["values"]) == ([["a", "–"]], [["a", {"value": None, "low": None, "high": None}]])
    assert gap["curves"][0]["points"] == [[1, None], [2, 3.0, 2.0, None]]
    assert no_bar["bars"][0][1]["value"] is None


def test_the_page_stands_alone(out):
    page = Path(write_evaluation(out)).read_text()
    assert "Study &lt;1&gt;" in page
    assert page.count("<svg") == 2
    assert "Nothing: nothing to draw." in page
    assert 'class="shade"' in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "://" not in page
    assert "NaN" not in page


def test_a_folder_without_an_evaluation_is_said(tmp_path):
    with pytest.raises(InputError, match=r"evaluation\.json"):
        write_evaluation(tmp_path)
