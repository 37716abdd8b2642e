"""Texts that are not novels, each made here: none is accepted silently."""

import random

import pytest

from polaris_jax.library import read_novel, segment_record
from tests.library.conftest import prose, sentences, wrap

NAMES = ("Marta", "Anselm", "Corwin", "Mrs. Hill", "Old Peter")
CASTS = (
    ("Marta", "Anselm", "Corwin"),
    ("Jonas", "Edith", "Percival"),
    ("Wilbur", "Agnes", "Rufus"),
    ("Hester", "Gideon", "Mabel"),
    ("Silas", "Nora", "Humphrey"),
    ("Clive", "Ida", "Leonard"),
    ("Basil", "Cora", "Edmund"),
)
TITLES = ("The Well", "A Debt", "Late Snow", "Ashes", "The Toll", "Rust", "Salt")


def _speeches(count=260, seed=3):
    rng = random.Random(seed)
    return [(rng.choice(NAMES), sentences(rng.choice((1, 1, 2, 3)), rng)) for _ in range(count)]


def _play(form, join="\n\n", head="THE FERRY\n\nACT I\n\nSCENE I\n\n"):
    return head + join.join(form(name, speech) for name, speech in _speeches())


def _verse(count, lower=False, stanza=4, seed=5):
    rng = random.Random(seed)
    words = ("river", "meadow", "lantern", "shadow", "morning", "winter", "harbour", "evening", "stone")
    lines = []
    for _ in range(count):
        first, second, third = rng.sample(words, 3)
        lead = rng.choice(("and", "where", "beneath") if lower else ("And", "Where", "Beneath"))
        lines.append(f"{lead} the {first} of the {second} and my {third}{rng.choice((',', '', ';'))}")
    groups = [lines[i : i + stanza] for i in range(0, count, stanza)]
    return "\n\n".join("\n".join(group) for group in groups)


def _stories(heading):
    parts = []
    for number, (first, second, third) in enumerate(CASTS):
        text = prose(18, seed=number)
        for old, new in (("Marta", first), ("Corwin", second), ("Anselm", third)):
            text = text.replace(old, new)
        for old, new in (("the miller", f"young {first}"), ("the ferryman", f"aunt {second}")):
            text = text.replace(old, new).replace(old.capitalize(), new.capitalize())
        text = text.replace("her brother", f"her {third}").replace("nobody in the", f"{first} in the")
        parts.append(f"{heading(number)}\n\n\n{text}")
    return "\n\n\n\n\n".join(parts)


def _essay(seed):
    rng = random.Random(seed)
    subjects = ("Wisdom", "The love of riches", "A settled habit", "The study of the law", "Prudence in small things")
    verbs = ("is commonly the mother of", "must in every age give way to", "has been thought to follow from")
    objects = ("a contented mind", "the decay of public spirit", "that temper which the ancients praised")
    tails = ("for the mind of man is led by use", "and of this all history is the proof", "though few will own it")
    line = "{} {} {}, {}."
    return "\n\n".join(
        wrap(" ".join(line.format(*map(rng.choice, (subjects, verbs, objects, tails))) for _ in range(7)))
        for _ in range(30)
    )


def _index():
    rng = random.Random(8)
    entries = []
    for letter in "ABCDEFGHIJKLMNOPRSTW":
        for number in range(30):
            pages = ", ".join(str(rng.randrange(1, 600)) for _ in range(rng.randrange(1, 6)))
            entries.append(f"{letter}{'aeiou'[number % 5]}lton, the manor of, {pages}; its mill, {rng.randrange(600)}")
    return "INDEX\n\n" + "\n".join(entries)


def _catalogue():
    rng = random.Random(9)
    return "A CATALOGUE OF BOOKS\n\n" + "\n\n".join(
        wrap(
            f"{number}. {rng.choice(('HILL', 'MARSH', 'FORD'))} (J.) {sentences(1, rng)} "
            f"8vo, calf, {rng.randrange(200, 900)} pp. {rng.randrange(1, 30)}s. 6d. 18{number % 90:02d}."
        )
        for number in range(1, 300)
    )


PLAYS = {
    "capitals and full stop": _play(lambda name, text: wrap(f"{name.upper()}. {text}")),
    "italic name": _play(lambda name, text: wrap(f"_{name}._ {text}")),
    "name and colon": _play(lambda name, text: wrap(f"{name}: {text}")),
    "name on a line of its own": _play(lambda name, text: f"{name.upper()}.\n{wrap(text)}"),
    "name in a paragraph of its own": _play(lambda name, text: f"                {name.upper()}\n\n{wrap(text)}"),
    "mixed case on a line of its own": _play(lambda name, text: f"{name}.\n{wrap(text)}"),
    "directions in brackets": _play(lambda name, text: wrap(f"{name.upper()} [rising] {text}")),
    "directions in italics": _play(lambda name, text: wrap(f"{name.upper()} (_aside_). {text}")),
    "name and dash": _play(lambda name, text: wrap(f"{name}.—{text}")),
    "markdown bold": _play(lambda name, text: f"**{name}:** {text}"),
    "a speech per line, no blanks": _play(lambda name, text: f"{name.upper()}. {text}", join="\n"),
    "speakers inside the paragraph": "THE FERRY\n\nACT I\n\n"
    + "\n\n".join(
        wrap(" ".join(f"{name.upper()}. {text}" for name, text in _speeches(12, seed=seed))) for seed in range(25)
    ),
}
OTHERS = {
    "stanzas": "POEMS OF THE VALLEY\n\nby A. Poet\n\n\n\n" + _verse(1200),
    "long stanzas": "POEMS OF THE VALLEY\n\nby A. Poet\n\n\n\n" + _verse(1200, stanza=14),
    "verse without capitals": "poems of the valley\n\nby a. poet\n\n\n\n" + _verse(1200, lower=True),
    "verse without blank lines": "THE VALLEY\nby A. Poet\n" + _verse(1200, stanza=1200),
    "a line of verse per paragraph": "THE VALLEY\n\nby A. Poet\n\n\n" + _verse(1200, stanza=1),
    "collection by title": "THE WELL AND OTHER STORIES\n\nby A. Writer\n\n\n\n\n" + _stories(lambda n: TITLES[n]),
    "collection without a word in its title": "THE WELL\n\nby A. Writer\n\n\n\n\n"
    + _stories(lambda n: TITLES[n].upper()),
    "collection with numbers": "THE WELL\n\nby A. Writer\n\n\n\n\n"
    + _stories(lambda n: f"{('I', 'II', 'III', 'IV', 'V', 'VI', 'VII')[n]}. {TITLES[n].upper()}"),
    "numbered essays": "OF MANNERS\n\nby A. Thinker\n\n\n\n\n"
    + "\n\n\n\n".join(f"{n}. OF {w}\n\n\n{_essay(n)}" for n, w in enumerate(("USE", "LAW", "TRUTH", "STUDY"), 1)),
    "titled essays": "OF MANNERS\n\nby A. Thinker\n\n\n\n\n"
    + "\n\n\n\n\n".join(f"Of {w}\n\n\n{_essay(n)}" for n, w in enumerate(("Use", "Law", "Truth", "Study"))),
    "an index": _index(),
    "a catalogue": _catalogue(),
}


@pytest.mark.parametrize("setting", PLAYS)
def test_a_play_is_turned_away_in_every_type_setting(setting, write):
    novel = read_novel(write(PLAYS[setting]))
    assert not novel.accepted
    assert "play" in novel.reason


@pytest.mark.parametrize("kind", OTHERS)
def test_no_other_text_passes_as_a_novel_in_silence(kind, write):
    record = segment_record(read_novel(write(OTHERS[kind])))
    assert not record["accepted"] or any("may be" in warning for warning in record["account"]["warnings"])


def test_a_novel_in_which_people_speak_passes_in_silence(write):
    chapters = [f"CHAPTER {n}\n\n\n{prose(12, seed=n)}" for n in range(1, 9)]
    speech = '\n\n"Yes." Marta said so.\n\n"No." Anselm. He had said it before.\n\nMarta. It was Marta at the door.\n\n'
    record = segment_record(read_novel(write("THE FERRY\n\nby A. Writer\n\n\n\n" + speech.join(chapters))))
    assert record["accepted"], record["reason"]
    assert not record["account"]["warnings"]


def _swap(text, pairs):
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _report(seed):
    """A report in the present tense."""
    pairs = (("had carried", "is carrying"), ("was looking", "is looking"), ("had hidden", "is hiding"))
    pairs += (("remembered", "has seen"), ("spoke of", "is told of"), ("asked about", "has asked of"))
    pairs += (("had been long", "is long"), ("was bad", "is bad"), ("they had", "they have"), ("it were", "it is"))
    return _swap(prose(12, seed=seed), (*pairs, ("came", "comes"), ("were still", "are still"), ("said", "says")))


DOUBTFUL = {
    "a guide in the present tense": lambda n: _report(n),
    "a chronicle with its years": lambda n: prose(12, seed=n).replace("Marta", f"In 17{n:02d} Marta"),
    "a dialogue with long speeches": lambda n: (
        prose(24, seed=n).replace("\n\nMarta ", "\n\n_Viat._ ", 3).replace("\n\nAnselm ", "\n\n_Pisc._ ", 3)
    ),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_prose_that_is_not_told_as_a_story_is_doubted(kind, write):
    chapters = "\n\n\n\n".join(f"CHAPTER {n}\n\n\n{DOUBTFUL[kind](n)}" for n in range(1, 16))
    record = segment_record(read_novel(write(f"THE VALLEY\n\nby A. Writer\n\n\n\n{chapters}")))
    assert not record["accepted"] or any("may be" in warning for warning in record["account"]["warnings"])


def test_a_publishers_list_of_signed_books_makes_no_anthology(write):
    chapters = "\n\n\n\n".join(f"CHAPTER {n}\n\n\n{prose(20, seed=n)}" for n in range(1, 9))
    authors = ("ALICE HILL", "CORA MARSH", "EDMUND FORD", "NORA TOLL", "BASIL WELL")
    books = "\n\n\n\n".join(
        f"{t.upper()}\n\nBy {a}\n\n{prose(4, seed=40)}" for t, a in zip(TITLES, authors, strict=False)
    )
    novel = read_novel(write(f"THE FERRY\n\nBy A. WRITER\n\n\n\n{chapters}\n\n\n\nTHE END\n\n\n\n{books}"))
    assert novel.accepted, novel.reason
    assert len(novel.chapters) == 8


def test_titled_stories_with_one_hero_are_a_collection(write):
    stories = _stories(lambda n: TITLES[n]).replace(" the lantern", " what Wilfred the clerk of Wilfred saw")
    novel = read_novel(write("THE WELL\n\nby A. Writer\n\n\n\n\n" + stories))
    assert not novel.accepted
    assert "collection" in novel.reason
