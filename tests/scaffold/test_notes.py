"""A note reads like a note: present tense, third person, named, short, and never a quotation."""

import pytest

from polaris_jax.scaffold.notes import note
from polaris_jax.scaffold.study import study
from polaris_jax.scaffold.vectors import score, weighted_mean
from polaris_jax.scaffold.verbs import base_form, to_present
from polaris_jax.trajectory import Vector


@pytest.mark.parametrize(
    ("past", "present"),
    [
        ("Agnes walked to the door and opened it", "Agnes walks to the door and opens it"),
        ("He was tired and worn and had gone home", "He is tired and worn and has gone home"),
        (
            "They stood in their kitchens with their hands folded",
            "They stand in their kitchens with their hands folded",
        ),
        ("Agnes and Tom walked the rows", "Agnes and Tom walk the rows"),
        (
            "One of the men came in with a letter written by Silver",
            "One of the men comes in with a letter written by Silver",
        ),
        (
            "Silas tipped it , and as it met the water it was not red",
            "Silas tips it , and as it meets the water it is not red",
        ),
        ("She could not see him and did not call", "She can not see him and does not call"),
        ("He was shot by the guard", "He is shot by the guard"),
    ],
)
def test_finite_verbs_move_to_the_present_and_participles_stay(past, present):
    assert " ".join(to_present(past.split())[0]) == present


@pytest.mark.parametrize(
    ("past", "base"),
    [("stopped", "stop"), ("hoped", "hope"), ("cried", "cry"), ("visited", "visit"), ("settled", "settle"),
     ("changed", "change"),
     ("answered", "answer"), ("called", "call"), ("agreed", "agree"), ("went", "go"), ("hundred", None),
     ("table", None)],
)  # fmt: skip
def test_base_forms(past, base):
    assert base_form(past) == base


def test_a_first_person_sentence_becomes_a_note_about_the_narrator():
    known = study(
        "I walked to the shore with my gun. I saw the boat, and I hid it under the trees before the morning came. " * 3
    )
    line = note("I walked to the shore with my gun.", known)
    assert line == "The narrator walks to the shore with their gun."


def test_a_pronoun_takes_the_name_it_stands_for():
    known = study(
        "Mary Vane sold the house. She kept the key in her glove. Mary laughed. The house was empty, and Mary was glad."
    )
    assert note("She kept the key in her glove.", known, referents={"f": "Mary"}) == "Mary keeps the key in her glove."


def test_a_sentence_fragment_is_no_note():
    known = study("The man who had the lamp. The night was cold and the man was old, and he had been there before.")
    assert note("The man who had the lamp under the stairs.", known) is None


def test_scores_follow_the_words_of_a_scene():
    fight = score(
        "He struck the guard and ran. The pistol fired; he leapt the wall and fought his way out.",
        "curly",
    )
    talk = score("“Will you have tea?” “I will.” “Then sit, and tell me about your sister.” “She is well.”", "curly")
    assert fight.action > 50 > talk.action
    assert talk.dialog == 99
    assert fight.dialog == 0


def test_a_chapter_is_the_mean_of_its_scenes_by_words():
    one, two = Vector(10, 0, 0, 0, 0, 0, 50), Vector(40, 0, 0, 0, 0, 0, 20)
    assert weighted_mean([one, two], [100, 200]) == Vector(30, 0, 0, 0, 0, 0, 30)
