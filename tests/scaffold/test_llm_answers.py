"""A model's answers: limits beyond the schema, simple repairs before a second question, notes faithful to the book."""

import json

import pytest
from scripted import words_of

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.llm import fields
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker, text_words
from polaris_jax.scaffold.llm.question import AnnotationQuestion, InvalidField, longest
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import Described

TEXT = words_of("Mary", "mill", 400) + "\n\nOld Thomas Vane walked home. She saw Thomas Vane again, and Vane laughed."
STATS = analyse(TEXT)
FREE = FaithfulnessChecker(STATS)
NAMED = FaithfulnessChecker(STATS, text_words(TEXT))


def test_bullets_are_cleaned_before_they_are_judged():
    field = fields.bullets("summary", "what happens", Bound(4, 12), FREE)
    said = ["- mary goes to\n the mill alone", "2. mary goes to the mill alone", "She <|eot_id|> counts what is left"]
    assert field.read(said) == ("Mary goes to the mill alone", "She < |eot_id|> counts what is left")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ([], "at least one"),
        (["Too short."], "2 words"),
        ([" ".join(["word"] * 30)], "at most 12 words"),
        (["x" * 299], "words"),
        ("a string", "list"),
    ],
)
def test_a_bullet_outside_its_limits_is_refused_with_advice(said, advice):
    with pytest.raises(InvalidField, match=advice):
        fields.bullets("summary", "what happens", Bound(4, 12), FREE).read(said)


def test_names_lose_labels_and_quotes():
    field = fields.line("name", "a title", 7, FREE, titled=True)
    assert field.read("Scene 3: “the mill at night”.") == "The mill at night"
    with pytest.raises(InvalidField, match="7 words"):
        field.read("a title that goes on and on until nobody can remember how it began")


def test_a_focus_has_no_semicolon_and_at_most_65_characters():
    field = fields.focuses("focuses", "about", 3, FREE)
    assert field.read(["the mill; the rain", "a debt."]) == ("the mill, the rain", "a debt")
    with pytest.raises(InvalidField, match="65"):
        field.read(["x" * 66])


def test_a_passage_is_mended_to_the_previews_alphabet_and_then_counted():
    field = fields.passage("highlight", "at stake", 55, 140, (70, 110), FREE)
    text = " ".join(["*Mary* #waits at the mill."] * 12)
    clean = field.read(text)
    assert limits.preview_words(clean) == clean.split()
    assert "*" not in clean
    assert "#" not in clean
    bad = ((text[:100], "words"), ("мельница " * 60, "Latin"), (text + " and then she", "full sentence"))
    for wrong, advice in bad:
        with pytest.raises(InvalidField, match=advice):
            field.read(wrong)


def test_seven_different_tags_are_needed():
    field = fields.tags("tags", "genre")
    said = ["sea story", "guilt, and grief", "#winter", "an old mill", "debt", "rain!", "slow"]
    assert field.read(said) == ("sea story", "guilt and grief", "winter", "an old mill", "debt", "rain", "slow")
    with pytest.raises(InvalidField, match="6 are usable"):
        field.read([*said[:6], "debt"])


@pytest.mark.parametrize("said", [[3, 2], [2, 2], [0], [9]])
def test_scene_numbers_increase_strictly_inside_their_window(said):
    field = fields.numbers("openings", "numbers", 1, 8, 8)
    assert field.read([]) == ()
    assert field.read([2, 5]) == (2, 5)
    with pytest.raises(InvalidField):
        field.read(said)


def test_no_answer_that_the_schema_allows_is_longer_than_the_room_left_for_it():
    question = AnnotationQuestion(
        "scene card",
        "Write.",
        (
            fields.line("name", "a title", 7, FREE),
            fields.bullets("summary", "what", Bound(8, 26), FREE),
            fields.scores("scores"),
            fields.tags("tags", "genre"),
        ),
    )
    schema = json.loads(question.schema)
    most = {
        "name": "x" * 61,
        "summary": ["x" * fields.chars(26)] * 8,
        "tags": ["x" * 50] * 7,
        "scores": dict.fromkeys(schema["properties"]["scores"]["properties"], 99),
    }
    assert len(json.dumps(most)) <= longest(schema) <= 2.5 * question.max_tokens


def test_user_and_assistant_take_turns_in_every_request():
    question = AnnotationQuestion("scene card", "Write.", (fields.scores("scores"),), "material")
    for request in (question.request(), question.request("{}", "wrong"), question.request("", "wrong")):
        roles = [role for role, _ in request.messages]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)][: len(roles)]
        assert roles[-1] == "user"
    assert "wrong" in question.request("", "wrong").messages[-1][1]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("Mary carries the lantern home.", []),
        ("At the mill Mary meets Napoleon.", ["Napoleon"]),
        ("Napoleon arrives without a word.", ["Napoleon"]),
        ("Napoleon’s letter reaches the mill.", ["Napoleon"]),
        ("Slowly Mary opens the shutter.", []),
        ("Carries the basket to the door.", []),
        ("Mary speaks with Mr. Vane on Sunday.", []),
        ("Mary’s ledger is opened at last.", []),
        ("The woman of the mill and Thomas Wenlock agree.", ["Wenlock"]),
    ],
)
def test_names_that_the_passage_does_not_have_are_found(line, names):
    assert NAMED.unknown(line) == names


def test_in_a_title_only_names_of_this_novel_count():
    scene = FaithfulnessChecker(STATS, text_words("Mary waited alone."))
    assert scene.unknown("The Quiet Bargain", titled=True) == []
    assert scene.unknown("Mary and Vane", titled=True) == ["Vane"]


def test_eight_words_in_a_row_are_a_copy_and_are_reworded_or_dropped():
    copied = "Mary carried the lantern to the mill on day 0 while it rained."
    sound = "Mary brings her light across."
    issues = NAMED.issues([sound, copied])
    assert issues.copies == (copied,)
    assert not issues.names
    kept = NAMED.repair([sound, copied, "Napoleon comes in from the rain."])
    assert kept[0] == sound
    assert all(STATS.copies(line) is None and "Napoleon" not in line for line in kept)
    assert NAMED.repair(["Napoleon comes in from the rain."]) is None


def test_a_character_nobody_has_heard_of_is_refused():
    field = fields.groups("main", "who", 3, Bound(2, 12), NAMED, lambda group: f"{group.name}?" * (group.name == "Zed"))
    said = [{"name": "Mary", "bullets": ["Keeps the accounts of the place."]}]
    assert field.read(said) == (Described("Mary", ("Keeps the accounts of the place.",)),)
    with pytest.raises(InvalidField, match="Zed"):
        field.read([{"name": "Zed", "bullets": ["Keeps the accounts of the place."]}])
