"""A note reads like a note: present tense, third person, named, short, and never a quotation."""

import pytest

from polaris_jax.scaffold.analysis import tagging
from polaris_jax.scaffold.analysis.cutting import can_end, sound_end, tags_of_words
from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.analysis.rewording import original
from polaris_jax.scaffold.analysis.sentences import narration
from polaris_jax.scaffold.analysis.verbs import base_form, is_past, to_present
from polaris_jax.scaffold.assemble import weighted_mean
from polaris_jax.scaffold.offline.notes import note, shorter
from polaris_jax.scaffold.offline.ranking import conversation
from polaris_jax.scaffold.offline.vectors import score
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
        ("She remembered three smashed bicycles in a heap", "She remembers three smashed bicycles in a heap"),
        (
            "Some of her comrades groaned , and her mind began to wander",
            "Some of her comrades groan , and her mind begins to wander",
        ),
        ("There had only been three real things before her", "There have only been three real things before her"),
        ("There was a man with two dogs", "There is a man with two dogs"),
        (
            "Seven months ago now , Venus and Mars were in alignment",
            "Seven months ago now , Venus and Mars were in alignment",
        ),
        (
            "In the morning the boys walked to the shore and the girl slept",
            "In the morning the boys walk to the shore and the girl sleeps",
        ),
        ("The men who had rowed the boat were tired", "The men who have rowed the boat are tired"),
        ("A man who rowed the boats was tired", "A man who rows the boats is tired"),
        ("The box which lay on the tables opened", "The box which lies on the tables opens"),
        ("What he said surprised them", "What he says surprises them"),
        ("The cat they had seen had gone", "The cat they have seen has gone"),
        (
            "The old and tired man walked home and the women laughed",
            "The old and tired man walks home and the women laugh",
        ),
        ("He put it down , set the table and cut the bread", "He puts it down , sets the table and cuts the bread"),
        (
            "The captain had breakfasted , and the doctor and the squire talked of the voyage",
            "The captain has breakfasted , and the doctor and the squire talk of the voyage",
        ),
        ("It was as if he were lost", "It is as if he were lost"),
        ("Neither of them spoke", "Neither of them speaks"),
        ("In all these years the house was empty", "In all these years the house is empty"),
        ("All the boys walked home", "All the boys walk home"),
        ("There was no stain left upon it", "There is no stain left upon it"),
        ("He was led home , fed , and left to himself", "He is led home , fed , and left to himself"),
        ("He was moved and opened the door", "He is moved and opens the door"),
        (
            "The king and his men , who had come far , were tired",
            "The king and his men , who have come far , are tired",
        ),
        ("As the boat approached the shore the man got up", "As the boat approaches the shore the man gets up"),
        ("Something told the boy the game was up", "Something tells the boy the game is up"),
        ("The family were poor", "The family are poor"),
        ("He would , through habit , have yielded", "He would , through habit , have yielded"),
        (
            "Edna's father was in the city , and had been there for days",
            "Edna's father is in the city , and has been there for days",
        ),
    ],
)
def test_finite_verbs_move_to_the_present_and_participles_stay(past, present):
    tokens, finite = to_present(past.split())
    assert " ".join(tokens) == present
    assert finite


@pytest.mark.parametrize("word", ["animate", "arewell"])
def test_what_a_word_can_be_does_not_depend_on_what_was_tagged_before(word):
    tagging._tagger.cache_clear()
    tagging.possible_tags.cache_clear()
    first = tagging.possible_tags(word)
    tagging._tags.cache_clear()
    tagging.tags([word])
    tagging.possible_tags.cache_clear()
    assert tagging.possible_tags(word) == first


def test_names_are_known_by_their_capitals():
    past = "Dantès from his perch saw the ship , and Good , by this time , had seized the rope"
    present = "Dantès from his perch sees the ship , and Good , by this time , has seized the rope"
    assert " ".join(to_present(past.split(), {"Dantès", "Good"})[0]) == present


@pytest.mark.parametrize(
    "past", ["Had he known it , he would have gone", "They used to hop about", "Here came the boys"]
)
def test_a_verb_without_a_place_in_the_present_makes_no_note(past):
    assert not to_present(past.split())[1]


@pytest.mark.parametrize(
    ("past", "base"),
    [
        ("stopped", "stop"),
        ("hoped", "hope"),
        ("cried", "cry"),
        ("visited", "visit"),
        ("settled", "settle"),
        ("changed", "change"),
        ("answered", "answer"),
        ("called", "call"),
        ("agreed", "agree"),
        ("went", "go"),
        ("lay", "lie"),
        ("clung", "cling"),
        ("quarrelled", "quarrel"),
        ("hundred", None),
        ("table", None),
    ],
)
def test_base_forms(past, base):
    assert base_form(past) == base


def test_a_first_person_sentence_becomes_a_note_about_the_narrator():
    stats = analyse(
        "I walked to the shore with my gun. I saw the boat, and I hid it under the trees before the morning came. " * 3
    )
    line = note("I walked to the shore with my gun.", stats)
    assert line == "The narrator walks to the shore with their gun."


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("I had walked to the shore with my gun, and was alone under the trees.", True),
        ("We had rowed all night, and in the morning the others slept in the boat.", True),
        ("I am on the shore every morning, and there is a boat that goes to the islands.", True),
        ("He said, I am tired, and I will not go. She took his hand and led him home again.", False),
        ("She walked to the shore, I believe, and he hid the boat under the trees for her.", False),
    ],
)
def test_the_narrator_is_an_i_where_an_i_does_something(paragraph, expected):
    assert analyse("\n\n".join([paragraph * 4] * 6)).first_person == expected


def test_a_pronoun_takes_the_name_it_stands_for():
    stats = analyse(
        "Mary Vane sold the house. She kept the key in her glove. Mary laughed. The house was empty, and Mary was glad."
    )
    assert note("She kept the key in her glove.", stats, referents={"f": "Mary"}) == "Mary keeps the key in her glove."


def test_a_pronoun_does_not_stand_for_somebody_whom_its_sentence_names_later():
    stats = analyse(
        "Mary Vane sold the house. She kept the key. Mary laughed. The house was empty, and Mary was glad. "
        "She hoped that Mary would come to the empty house."
    )
    line = note("She hoped that Mary would come to the old house.", stats, referents={"f": "Mary"})
    assert line == "She hopes that Mary will come to the old house."


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("He does his duty by formally", "He does his duty"),
        ("She thinks of the heroic", "She thinks"),
        ("They own the house which is also", "They own the house"),
        ("He walks to the shore and", "He walks to the shore"),
        ("They find the door of the house", "They find the door of the house"),
        ("The lamp is bright", "The lamp is bright"),
    ],
)
def test_a_note_does_not_end_in_a_torso(words, kept):
    assert " ".join(words.split()[: sound_end(words.split())]) == kept


@pytest.mark.parametrize(
    ("words", "possible"),
    [
        ("She picks it up between finger | and thumb", False),
        ("She picks it up | between finger and thumb", True),
        ("Their mind begins | to grow watchful", False),
        ("She takes the lamp | to light the way", True),
        ("He knows her as well | as her brother does", False),
        ("He is so tired | that he falls asleep", False),
        ("They are fond of the old | and faithful horse", False),
        ("They are fond of the horse | and of the dog", True),
    ],
)
def test_a_sentence_is_cut_where_its_first_part_is_whole(words, possible):
    end = words.split().index("|")
    rest = [word for word in words.split() if word != "|"]
    assert can_end(rest, end, tags_of_words(rest)) == possible


def test_an_open_quotation_hides_its_own_paragraph_only():
    text = '"The ferry is late, he said.\n\nAgnes walked to the mill. "It is," she said.\n\nThe door was open.'
    assert narration(text, "straight").split("\n\n") == [
        " ",
        "Agnes walked to the mill.   she said.",
        "The door was open.",
    ]


def test_a_sentence_fragment_is_no_note():
    stats = analyse("The man who had the lamp. The night was cold and the man was old, and he had been there before.")
    assert note("The man who had the lamp under the stairs.", stats) is None


def test_an_essay_inside_a_novel_of_the_past_tense_makes_notes_where_it_is_asked_for():
    stats = analyse("The ship sailed at noon. Ahab walked the deck and looked out. He stood there and waited. " * 20)
    sentence = "This whale is often seen on the northern American coast."
    assert note(sentence, stats) is None
    assert note(sentence, stats, essay=True) == "This whale is often seen on the northern American coast."
    assert note("The great whales of the northern coast.", stats, essay=True) is None
    told = "Ahab walked the deck and looked out."
    assert note(told, stats, essay=True) == note(told, stats)


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


@pytest.mark.parametrize("word", ["unharmed", "ill-timed", "unexpected", "grey-haired"])
def test_adjectives_in_ed_are_no_past_forms(word):
    assert not is_past(word)
    assert base_form(word) is None


@pytest.mark.parametrize(("past", "base"), [("unlocked", "unlock"), ("undressed", "undress"), ("unfolded", "unfold")])
def test_verbs_in_un_are_past_forms(past, base):
    assert is_past(past)
    assert base_form(past) == base


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Agnes sees a inviting door in the wall", "Agnes sees an inviting door in the wall."),
        ("Agnes sees an narrow door in the wall", "Agnes sees a narrow door in the wall."),
        ("Agnes meets a honest man at an hotel", "Agnes meets an honest man at an hotel."),
        ("Agnes wears a uniform for an hour there", "Agnes wears a uniform for an hour there."),
        ("Agnes finds a one-eyed cat and a unicorn", "Agnes finds a one-eyed cat and a unicorn."),
        ("Agnes is told of a uninvited guest there", "Agnes is told of an uninvited guest there."),
        ("Agnes is a European and an unusual guest", "Agnes is a European and an unusual guest."),
    ],
)
def test_articles_fit_the_word_behind_them(text, said):
    assert original(text, analyse("Nothing of it is here. There was a lamp.")) == said


def test_words_between_commas_are_dropped_with_one_of_them():
    told = "Agnes does not, of course,, let the old man see the lamp"
    line = original(told, analyse("Nothing of it is here. There was a lamp."))
    assert line == "Agnes does not, of course, let the old man see the lamp."


def test_a_line_of_speech_names_its_speaker_and_quotes_a_whole_clause():
    text = (
        "“The ferry leaves at seven,” said Agnes Vane, and she took the lamp.\n\n"
        "“I cannot find the second key,” he said.\n\n"
        "Agnes Vane opened the shutter. Agnes went out. The lamp was cold."
    )
    first = conversation(text, text)
    assert first in ("“The ferry leaves at seven,” says Agnes.", "“The ferry leaves at seven,” says Agnes Vane.")
    assert conversation(text, text, {first}) == "“I cannot find the second key.”"
    assert conversation(text, text, {first, "“I cannot find the second key.”"}) is None


def test_a_question_stays_a_question():
    text = "“Do you miss your old friend?” said Agnes Vane.\n\nAgnes Vane opened the shutter. Agnes went out."
    assert conversation(text, text) in (
        "“Do you miss your old friend?” asks Agnes.",
        "“Do you miss your old friend?” asks Agnes Vane.",
    )


def test_a_shorter_note_keeps_its_main_clause():
    stats = analyse("The ferry left. Agnes walked to the mill and looked at the wheel, and the door opened. " * 2)
    line = "As Agnes walks to the mill, the old door opens slowly on the yard by the ferry."
    assert shorter(line, stats, 20, ()) == line
    assert shorter(line, stats, 20, {line}) == "As Agnes walks to the mill, the old door opens slowly on the yard."
    assert shorter(line, stats, 6, ()) is None
