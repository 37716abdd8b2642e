"""The judge of plans tells planted faults from sound bullets, and agrees with labels made before it."""

import random
from dataclasses import replace

import benchmark_scripts
import pytest

from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books, review_plan, template_share
from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.review import judge_bullet
from polaris_jax.scaffold.review.bullets import GOOD
from polaris_jax.scaffold.review.faults import KINDS, plant
from polaris_jax.scaffold.review.grammar import mistakes
from polaris_jax.scaffold.review.plans import WEIGHTS, opening

SCENE = (
    "Agnes climbed the stair with the lamp in her hand. Tom waited below by the door.\n\n"
    "She opened the chest and found the ledger under the blankets. She did not call him. She read the first page, and "
    "then she burned it in the stove.\n\n"
    "“What kept you?” asked Tom, when Agnes came down. He looked at her hands. Mr. Pell had written to him that "
    "morning, and he had told nobody of the letter."
)
NOVEL = "\n\n".join(
    [SCENE]
    + [
        f"Then Agnes said that she had seen Tom, and Tom said he knew it. Mr. Pell spoke to Tom on day {n}."
        for n in "abcdefgh"
    ]
    + [
        f"In town Mr. Pell counted his money, and Agnes took her lamp and went home to Tom on night {n}."
        for n in "abcdefgh"
    ]
)


@pytest.fixture(scope="module")
def judge():
    stats = analyse(NOVEL)
    return lambda line, *beside: judge_bullet(line, SCENE, stats, beside)


@pytest.mark.parametrize(
    "line",
    [
        "Agnes climbs the stair with a lamp in her hand.",
        "She opens the chest and finds the ledger under the blankets.",
        "Agnes does not call Tom.",
        "Agnes reads the first page of the ledger and burns it in the stove.",
        "Tom looks at the hands of Agnes and asks what kept her.",
        "Mr. Pell has written to Tom, who tells nobody of the letter.",
        "“What kept you,” says Tom.",
    ],
)
def test_what_the_scene_says_passes(judge, line):
    said = judge(line)
    assert said.score >= GOOD, said


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Tom climbs the stair with the lamp in his hand.", "referent"),
        ("He opens the chest and finds the ledger under the blankets.", "gender"),
        ("Agnes does call him.", "negation"),
        ("Mr. Pell has not written to him that morning.", "negation"),
        ("A storm drives the fishing boats against the harbour wall.", "unsupported"),
        ("Agnes open the chest and find the ledger.", "grammar"),
        ("Agnes finds an ledger under the blankets.", "grammar"),
        ("Tom, who waits below by the door.", "grammar"),
        ("The scene sets the stage for a change of heart.", "vague"),
        ("“What kept you,” says Mr. Pell.", "referent"),
        ("“It was all of it,” says Tom.", "vague"),
    ],
)
def test_what_it_does_not_say_or_what_is_no_english_is_found(judge, line, fault):
    said = judge(line)
    assert said.score < GOOD, said
    assert fault in said.faults, said


ORCHARD = (
    "The captain walked in the orchard. Agnes found the lamp that Mr. Pell worked on.\n\n"
    "If the letter reached the harbour, the captain sold the boat. "
    "Mr. Pell was as honest as Tom. He counted the silver spoons of the captain."
)


@pytest.mark.parametrize(
    ("sound", "turned", "fault"),
    [
        (
            "If the letter reaches the harbour, the captain sells the boat.",
            "The letter reaches the harbour, the captain sells the boat.",
            "negation",
        ),
        ("Agnes finds the lamp that Mr. Pell works on.", "Agnes finds the lamp that Mr. Pell works.", "negation"),
        (
            "Mr. Pell counts the silver spoons of the captain.",
            "Tom counts the silver spoons of the captain.",
            "referent",
        ),
    ],
)
def test_what_a_bullet_leaves_out_may_turn_it_round(sound, turned, fault):
    """A condition, a last preposition, and somebody with whom another is only compared."""
    stats = analyse(f"{ORCHARD}\n\n{NOVEL}")
    assert judge_bullet(sound, ORCHARD, stats).score >= GOOD
    said = judge_bullet(turned, ORCHARD, stats)
    assert said.score < GOOD
    assert said.faults[fault] >= 0.6


def test_a_bullet_said_twice_is_bad_and_two_different_ones_are_not(judge):
    line, other = "Agnes climbs the stair with a lamp in her hand.", "She burns the first page in the stove."
    assert judge(line, other).score >= GOOD
    assert judge(line, other, "With the lamp in her hand Agnes climbs the stair.").score < GOOD


def test_english_of_older_books_is_no_mistake():
    stats = analyse(NOVEL)
    for line in (
        "Tom has had to wait below.",
        "An hour later he comes down.",
        "Agnes makes him go.",
        "Tom and Agnes know it.",
        "If the letter comes, Tom will tell nobody.",
    ):
        assert mistakes(line, stats) == (), line


def area(good, bad):
    return sum((a > b) + 0.5 * (a == b) for a in good for b in bad) / (len(good) * len(bad))


@pytest.mark.parametrize("kind", KINDS)
def test_planted_faults_are_told_from_sound_bullets(hallin, kind):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    stats = analyse("\n\n".join(chapter.text for chapter in book.chapters))
    rng, good, bad = random.Random(0), [], []
    foreign = ["The whale turns under the boat, and the harpooner lets go the line.", "Her aunt sells the vineyard."]
    for chapter in book.chapters:
        for scene in chapter.scenes:
            for number, line in enumerate(scene.summary):
                beside = [*scene.summary[:number], *scene.summary[number + 1 :]]
                spoilt = plant(kind, line, scene.text, stats, rng, foreign, beside)
                if spoilt is not None:
                    good.append(judge_bullet(line, scene.text, stats, beside).score)
                    bad.append(judge_bullet(spoilt, scene.text, stats, beside).score)
    assert len(bad) >= 10
    assert area(good, bad) >= 0.8


def test_a_plan_has_one_number_and_a_spoilt_one_a_worse_one(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    prose = "\n\n".join(chapter.text for chapter in book.chapters)
    review = review_plan(book, prose)
    assert review.parts.keys() == WEIGHTS.keys()
    assert review.score == pytest.approx(100 * sum(WEIGHTS[name] * part for name, part in review.parts.items()))
    assert review == review_plan(book, prose)
    # every chapter bears the card of the next one
    chapters = book.chapters
    turned = tuple(
        replace(chapter, summary=chapters[i - 1].summary, scenes=tuple(
            replace(scene, summary=chapters[i - 1].scenes[0].summary) for scene in chapter.scenes
        ))
        for i, chapter in enumerate(chapters)
    )  # fmt: skip
    worse = review_plan(replace(book, chapters=turned), prose)
    assert worse.parts["supported"] < 0.6 < review.parts["supported"]
    assert worse.parts["coverage"] < review.parts["coverage"]
    assert worse.score < review.score - 15
    assert len(worse.worst) >= 5
    assert all(said.why for _, said in worse.worst)


def test_openings_of_three_books_are_templates():
    books = [{opening("The talk turns on the weather."): 2, opening(f"Book {n} is its own."): 2} for n in range(3)]
    assert template_share(books) == [0.5, 0.5, 0.5]
    assert template_share(books[:2]) == [0.0, 0.0]


@pytest.mark.slow
def test_labels_made_before_the_judge_are_shared(shared):
    """Five books that were held out while the judge was written."""
    found = benchmark_scripts.load("plan_judge").labelled("held out")
    assert len(found) >= 100
    assert sum((score >= GOOD) == row["good"] for row, score, _ in found) / len(found) >= 0.72  # 0.733 was reached
    assert area([s for r, s, _ in found if r["good"]], [s for r, s, _ in found if not r["good"]]) >= 0.8
