"""Results as documents: tables and charts as data, from which Markdown, LaTeX, JSON and the HTML page are made.

``document`` holds the parts of a ``Document``, and ``formats`` writes it. The ``*_report`` modules make the documents
of a benchmark, a tournament and the length study. ``published`` adds published results for orientation.
"""

from polaris_jax.evals.documents.bench_report import evaluation_document
from polaris_jax.evals.documents.document import (
    BarChart,
    Curve,
    Document,
    DocumentSection,
    LineChart,
    Table,
)
from polaris_jax.evals.documents.formats import markdown, write_document
from polaris_jax.evals.documents.length_report import length_document, measure_lengths
from polaris_jax.evals.documents.tournament_report import tournament_document

__all__ = [
    "BarChart",
    "Curve",
    "Document",
    "DocumentSection",
    "LineChart",
    "Table",
    "evaluation_document",
    "length_document",
    "markdown",
    "measure_lengths",
    "tournament_document",
    "write_document",
]
