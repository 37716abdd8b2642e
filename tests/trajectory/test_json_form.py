"""A grammar as a form: whatever fills the schema fits the grammar."""

import random
import re

import pytest

from polaris_jax.trajectory import MINI, phrases
from polaris_jax.trajectory.grammar import optional, seq
from polaris_jax.trajectory.json_form import UnfilledForm, fill, schema

FORMS = {
    "preview": phrases.preview(MINI),
    "arcs": phrases.short_arcs(MINI),
    "card": phrases.card_body(MINI),
    "scene": phrases.scene_body(MINI),
    "ended scene": seq(phrases.scene_body(MINI), optional("\n\n")),
    "opening": phrases.scene_opening([50, 100, 250], MINI),
    "people": seq(phrases.described("####", (1, 3), (1, 2), MINI), "\n\n### Side Characters\n"),
    "names": phrases.chapter_names(0, 3, MINI),
    "number": phrases.number_up_to("count", (50, 60)),
    "prose": phrases.prose(),
}


def answer(form, rng):
    """A random value of a schema, strings of ordinary words."""
    match form["type"]:
        case "object":
            return {name: answer(form["properties"][name], rng) for name in form["required"]}
        case "array":
            low = form["minItems"]
            return [answer(form["items"], rng) for _ in range(rng.randint(low, form.get("maxItems", low + 3)))]
        case "integer":
            return rng.randint(form["minimum"], form["maximum"])
    if "enum" in form:
        return rng.choice(form["enum"])
    if "pattern" in form:
        return next(text for _ in range(999) if re.fullmatch(form["pattern"], text := str(rng.randint(0, 99))))
    low, high = map(int, re.findall(r"\d+", form.get("description", "1 to 3 words"))[:2])
    words = [rng.choice(("tide", "lamp", "Mara", "höher")) for _ in range(rng.randint(low, high))]
    return " ".join(words)[: form.get("maxLength", 10**6)].strip()


@pytest.mark.parametrize("name", FORMS)
def test_every_answer_that_satisfies_the_schema_makes_a_member(name):
    jsonschema = pytest.importorskip("jsonschema", reason="pip install 'polaris-jax[llm]'")
    grammar, rng = FORMS[name], random.Random(name)
    form = schema(grammar)
    jsonschema.Draft202012Validator.check_schema(form)
    assert form["type"] == "object"
    texts = set()
    for _ in range(10):
        filled = answer(form, rng)
        jsonschema.validate(filled, form)
        text = fill(grammar, filled)
        assert grammar.matches(text), text
        texts.add(text)
    assert len(texts) > 1


def test_the_fields_are_named_by_the_headings_and_headings_are_not_asked_for():
    form = schema(FORMS["scene"])
    assert list(form["properties"]) == ["vector", "narrative_focus", "narrative_perspective", "scene_summary"]
    assert list(form["properties"]["vector"]["properties"])[:2] == ["action", "dialog"]
    assert "##" not in str(schema(FORMS["preview"]))


def test_strings_are_brought_into_the_alphabet_and_onto_one_line():
    text = fill(
        FORMS["names"],
        dict(zip(schema(FORMS["names"])["properties"], ("A\nb  <c>", "e\u0301", "ok" * 90), strict=True)),
    )
    assert text.split("\n")[:2] == ["- A b c>", "- é"]
    assert len(text.split("\n")[2]) == 2 + MINI.name_chars


@pytest.mark.parametrize("wrong", [[], "x", {"vector": {}}, {"a": 1, "b": 2}, None])
def test_what_is_not_of_the_forms_shape_is_refused(wrong):
    with pytest.raises(UnfilledForm):
        fill(FORMS["scene"], wrong)
