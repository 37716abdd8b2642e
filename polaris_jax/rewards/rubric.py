"""The Story Quality rubric as the judge's instructions and JSON schema, full or brief.

``full`` explains every dimension with its bands and asks for a justification before each score, as the recipe does.
``brief`` has one line per dimension and asks for scores only. It is a tenth of the size, for judges with a small
context window. Instructions and schema together have a version, which is part of a reply's cache key.
"""

import functools
import hashlib
import json

from polaris_jax.errors import InputError
from polaris_jax.rewards.dimensions import BONUS, DIMENSIONS, NEGATIVE, PENALTY, POSITIVE, Dimension

RUBRICS = ("full", "brief")
# Tokens of an answer (full: 18 reasons with quotes; brief: 18 numbers), for forecasts only, not for budgets.
ANSWER_TOKENS = {"full": 2500, "brief": 150}
LABELS = (("very_poor", None), ("poor", 15), ("fair", 35), ("good", 55), ("excellent", 75))  # name, least overall score
_QUOTE_WORDS = 12

_RULES = f"""\
You judge short stories. You get the request a story was written for, and the story. Score it with the rubric below.

How to judge
- Judge as a reader: what it was like to read the whole, not how many small faults can be found.
- Use the whole range. Fluent prose that anyone might have written belongs in the lower half of the P dimensions.
- Whether a person or a machine wrote it is not your question. Do not guess.
- What the author clearly meant to do is not a fault. Judge how well it works.
- P dimensions look at the story as a whole. What it does not attempt earns little there.
- N dimensions look at faults one can point to. Score how much harm they do, not how often they occur. What does not \
apply is 0.
- One fault counts once: choose the N dimension that fits it best.
- Justify each score in one to three sentences before you give it, with one or two exact quotations of at most \
{_QUOTE_WORDS} words; a score above 0 on an N dimension must have one. Say why it is not higher and why not lower.
"""
_CATCH_ALLS = """\
For BONUS and PENALTY name the merit or failure, give up to two quotations (needed from a score of 2), say which \
dimension comes closest to covering it and why that one does not. If any of this is missing or vague, the score is 0.
"""
_TOTALS = f"""\
Totals: positive_total = P1+...+P{len(POSITIVE)}; negative_total = N1+...+N{len(NEGATIVE)}; bonus_total and \
penalty_total repeat their scores; overall_score = positive_total - negative_total + bonus_total - penalty_total, \
not clipped. overall_label: very_poor below 15, poor below 35, fair below 55, good below 75, else excellent.
Answer with one JSON object and nothing else; keys in the order of the schema.
"""


@functools.cache
def instructions(rubric: str = "full") -> str:
    """The system message.

    Raises:
      InputError: no such rubric.
    """
    _known(rubric)
    if rubric == "brief":
        lines = [f"{d.id} 0-{d.most}: {d.title.lower()}" for d in DIMENSIONS]
        return (
            "Score the story on each point. P and BONUS: higher is better. N and PENALTY: higher is worse, 0 is no "
            "such fault. Answer with one JSON object, a whole number per point.\n" + "\n".join(lines)
        )
    parts = [
        _RULES,
        "What earns points",
        *map(_section, POSITIVE),
        "What loses points",
        *map(_section, NEGATIVE),
        "What nothing above covers",
        _section(BONUS),
        _section(PENALTY),
        _CATCH_ALLS,
        _TOTALS,
    ]
    return "\n".join(parts).strip()


@functools.cache
def schema(rubric: str = "full") -> str:
    """JSON schema of the answer, as text: closed, every key required, each justification before its score.

    Raises:
      InputError: no such rubric.
    """
    _known(rubric)
    if rubric == "brief":
        return _closed({d.id: _score(d) for d in DIMENSIONS})
    properties: dict = {}
    for dimension in (*POSITIVE, *NEGATIVE):
        properties[f"{dimension.stem}_justification"] = {"type": "string"}
        properties[dimension.score_key] = _score(dimension)
    for dimension, about in ((BONUS, "target_excellence"), (PENALTY, "target_deficiency")):
        stem = dimension.stem
        properties[f"{stem}_{about}"] = {"type": "string"}
        properties[f"{stem}_evidence"] = {"type": "array", "items": {"type": "string"}, "maxItems": 2}
        properties[f"{stem}_almost_captured_by"] = {"type": "string"}
        properties[f"{stem}_why_not_captured"] = {"type": "string"}
        properties[dimension.score_key] = _score(dimension)
    for total in ("positive_total", "negative_total", "bonus_total", "penalty_total"):
        properties[total] = {"type": "number"}
    properties["overall_justification"] = {"type": "string"}
    properties["overall_score"] = {"type": "number"}
    properties["overall_label"] = {"enum": [name for name, _ in LABELS]}
    return _closed(properties)


@functools.cache
def version(rubric: str = "full") -> str:
    """Twelve hex digits that change whenever instructions or schema do."""
    return hashlib.sha256(f"{instructions(rubric)}\0{schema(rubric)}".encode()).hexdigest()[:12]


def question(prompt: str, story: str) -> str:
    """The user message about one story, with the prompt but not its length request (``without_length_request``)."""
    return f"STORY PROMPT:\n{prompt}\n\nSTORY:\n{story}\n"


def label(overall: float) -> str:
    """The one-word verdict for an overall score in points."""
    return next(name for name, least in reversed(LABELS) if least is None or overall >= least)


def _section(dimension: Dimension) -> str:
    ends = [least - 1 for least, _ in dimension.bands[1:]] + [dimension.most]
    bands = [f"    {_span(least, end)}: {text}" for (least, text), end in zip(dimension.bands, ends, strict=True)]
    head = f"{dimension.id} {dimension.title} (0-{dimension.most}, key {dimension.score_key})"
    return "\n".join([head, f"    {dimension.asks}", *bands])


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}-{most}"


def _score(dimension: Dimension) -> dict:
    return {"type": "integer", "minimum": 0, "maximum": dimension.most}


def _closed(properties: dict) -> str:
    return json.dumps(
        {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    )


def _known(rubric: str) -> None:
    if rubric not in RUBRICS:
        raise InputError("rubric", rubric, f"one of {', '.join(RUBRICS)}")
