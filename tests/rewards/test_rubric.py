"""The rubric explains every score, and its schema accepts what it asks for."""

import json

import jsonschema
import pytest
from rubric_replies import answer, brief

from polaris_jax.errors import InputError
from polaris_jax.llm.structured import is_strict
from polaris_jax.rewards import rubric
from polaris_jax.rewards.dimensions import DIMENSIONS, NEGATIVE, POSITIVE


def full_answer(**changes):
    schema = json.loads(rubric.schema())
    texts = {
        key: ["q"] if kind.get("type") == "array" else "good" if "enum" in kind else "because"
        for key, kind in schema["properties"].items()
    }
    return texts | answer() | changes


def test_ranges_of_the_totals():
    assert (sum(d.most for d in POSITIVE), sum(d.most for d in NEGATIVE), len(DIMENSIONS)) == (100, 151, 18)


def test_every_dimension_is_explained_with_bands_that_cover_its_range():
    text = rubric.instructions()
    for dimension in DIMENSIONS:
        assert f"{dimension.id} {dimension.title} (0-{dimension.most}, key {dimension.score_key})" in text
        starts = [start for start, _ in dimension.bands]
        assert starts[0] == 0
        assert starts == sorted(set(starts))
        assert starts[-1] <= dimension.most


def test_schema_takes_a_full_answer_and_nothing_out_of_range():
    schema = json.loads(rubric.schema())
    jsonschema.validate(full_answer(), schema)
    for changes in ({"bonus_score": 9}, {"negative_predictability_cliche_score": 2.5}, {"extra": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(full_answer(**changes), schema)
    assert is_strict(schema), "a server's strict mode must accept it"
    keys = list(schema["properties"])
    assert keys.index("positive_narrative_arc_pacing_justification") + 1 == keys.index(
        "positive_narrative_arc_pacing_score"
    )


def test_brief_is_a_fraction_of_the_size_and_asks_for_the_same_scores():
    jsonschema.validate(json.loads(brief()), json.loads(rubric.schema("brief")))
    assert len(rubric.instructions("brief")) < len(rubric.instructions()) / 5
    assert rubric.version("brief") != rubric.version("full")


@pytest.mark.parametrize(
    ("points", "label"), [(-159, "very_poor"), (14, "very_poor"), (15, "poor"), (55, "good"), (75, "excellent")]
)
def test_labels(points, label):
    assert rubric.label(points) == label


def test_unknown_rubric_is_refused():
    with pytest.raises(InputError, match="rubric='long'"):
        rubric.instructions("long")
