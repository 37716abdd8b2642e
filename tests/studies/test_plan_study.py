"""The plan study: the plan behind each passage, nats per word, gains, and a stopped study that goes on."""

import math

import numpy as np
import pytest

from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.evals.documents import markdown
from polaris_jax.studies.plans import (
    ChapterOpening,
    OpeningPlan,
    PlanStudySpec,
    gain_per_word,
    loss_per_word,
    offline_plans,
    plan_study_document,
    read_openings,
    run_plan_study,
    shuffled,
)
from polaris_jax.studies.plans.cards import heading
from polaris_jax.studies.plans.likelihood import ConditionedText, passage_nats, plain_passage_nats, word_nats
from polaris_jax.studies.plans.openings import SHUFFLES
from polaris_jax.studies.plans.report import words_outside
from polaris_jax.studies.plans.study import padded, trajectory_of
from polaris_jax.training import load_weights
from polaris_jax.trajectory import Scene, Vector

SPEC = PlanStudySpec(steps=2, batch=1, learning_rate=1e-2, generated=0)


@pytest.fixture(scope="module")
def tokenizer(material):
    return load_tokenizer(str(material / "model"))


@pytest.fixture(scope="module")
def books(material):
    """Two novels of one author each; the second one's later chapters count as a third author's book."""
    ann, bo = (read_openings(material / "novels" / f"{name}.txt", 4, 60) for name in ("Ann", "Bo"))
    later = [ChapterOpening(f"Cy/{i}", "Cy", "Cy Doe", one.name, one.text) for i, one in enumerate(bo[1][2:])]
    return {"Ann": ann, "Bo": (bo[0], bo[1][:2]), "Cy": (bo[0], later)}


@pytest.fixture(scope="module")
def plans(books):
    return {"offline": {k: v for novel, openings in books.values() for k, v in offline_plans(novel, openings).items()}}


def opening(name, text="He went to the sea."):
    book, number = name.split("/")
    return ChapterOpening(name, book, book, number, text)


def plan(*lines):
    return OpeningPlan(Scene("Fire", 0, Vector(*7 * [0]), ("focus",), "third person", lines))


def test_a_shuffled_plan_is_never_the_openings_own():
    openings = [opening(f"{book}/{n}") for book, count in (("a", 2), ("b", 5), ("c", 3)) for n in range(count)]
    pairs = shuffled(openings)
    assert set(pairs) == set(SHUFFLES)
    for one in openings:
        chapter, book = pairs["other chapter"][one.id], pairs["other book"][one.id]
        assert chapter != one.id
        assert chapter.split("/")[0] == one.book
        assert book.split("/")[0] != one.book


def test_one_book_or_a_lonely_chapter_cannot_be_shuffled():
    with pytest.raises(InputError, match="two books"):
        shuffled([opening("a/1"), opening("a/2")])
    with pytest.raises(InputError, match="two openings"):
        shuffled([opening("a/1"), opening("a/2"), opening("b/1")])


def test_openings_begin_different_chapters(material):
    novel, openings = read_openings(material / "novels" / "Ann.txt", 3, 60)
    assert len({one.id for one in openings}) == len(openings) == 3
    for one in openings:
        assert 20 <= len(one.words) <= 60
        chapter = novel.chapters[int(one.id.split("/")[1]) - 1]
        assert chapter.text.startswith(one.text)


def test_a_plan_changes_what_stands_before_the_passage_and_not_its_tokens(books, plans, tokenizer):
    one = books["Ann"][1][0]
    with_plan = ConditionedText.of(heading(plans["offline"][one.id]), one.text, tokenizer)
    without = ConditionedText.of(heading(None), one.text, tokenizer)
    np.testing.assert_array_equal(with_plan.tokens[with_plan.start :], without.tokens[without.start :])
    learnt = trajectory_of(one, plans["offline"][one.id], tokenizer)
    assert tokenizer.decode(learnt.tokens[learnt.weights == 1]) == one.text
    before = tokenizer.decode(learnt.tokens[learnt.weights == 0])
    assert all(line in before for line in plans["offline"][one.id].scene.summary)


def test_passages_in_padded_batches_score_as_one_by_one_from_all_logits(material, books, tokenizer):
    config, params, _ = load_weights(material / "model", dtype="float32")
    heads = [heading(None), "A heading that is a good deal longer than the other one.\n\n"]
    texts = [ConditionedText.of(head, books["Bo"][1][0].text, tokenizer) for head in heads]
    found = passage_nats(params, config, texts, batch=3)  # one row is padding
    for text, nats in zip(texts, found, strict=True):
        np.testing.assert_allclose(nats, plain_passage_nats(params, config, text), rtol=1e-4, atol=1e-4)


def test_nats_per_word_keep_the_sum_and_belong_to_their_words(tokenizer):
    text = "The  widow’s door,\n\nshe said, was—open. "
    tokens = tokenizer.encode(text)
    nats = np.random.default_rng(0).uniform(size=len(tokens))
    found = word_nats(nats, tokens, text, tokenizer.token_bytes())
    assert len(found) == len(text.split()) == 6
    assert found.sum() == pytest.approx(nats.sum())
    # By letters alone: every character a token of one nat, white space with the word that follows.
    pieces = [char.encode() for char in text]
    one_each = word_nats(np.ones(len(pieces)), np.arange(len(pieces)), text, pieces)
    assert one_each.tolist() == [3, 2 + 7, 1 + 5, 2 + 3, 1 + 5, 1 + 9 + 1]


def test_the_gain_of_a_model_that_copies_the_plan_is_its_share_of_copied_words():
    """Words of the plan cost such a model nothing, every other word log(V)."""
    openings = [opening("a/1", "Anna walks to the old mill"), opening("a/2", "the mill burned down before supper")]
    cards = {"a/1": plan("Anna walks"), "a/2": plan("supper")}
    cost = math.log(1000)
    none = {one.id: [cost] * len(one.words) for one in openings}
    outside = {one.id: words_outside(one, cards[one.id]) for one in openings}
    assert outside == {"a/1": [False, False, True, True, True, True], "a/2": [True, True, True, True, True, False]}
    given = {name: [cost * new for new in flags] for name, flags in outside.items()}
    gain = gain_per_word(none, given)
    assert gain.value == pytest.approx(cost * 3 / 12)
    assert gain.low < gain.value < gain.high
    assert gain_per_word(none, given, outside).value == 0
    assert gain_per_word(none, none).value == 0
    assert loss_per_word(none).value == pytest.approx(cost)
    assert gain_per_word(none, given, {name: [False] * 6 for name in none}) is None


def test_a_card_survives_its_file(plans):
    for card in plans["offline"].values():
        assert OpeningPlan.of(card.to_json()) == card


def test_a_study_goes_on_where_it_was(material, books, plans, tmp_path):
    train_on, held_out = books["Ann"][1], [*books["Bo"][1], *books["Cy"][1]]
    said = []

    def run(spec):
        said.clear()
        return run_plan_study(material / "model", train_on, held_out, plans, tmp_path, spec, said.append)

    results = run(SPEC)
    assert [one["arm"] for one in results] == ["base", "no plan", "offline"]
    assert sum("step" in line for line in said) == 2 * SPEC.steps
    base, prose, offline = results
    for one in held_out:
        assert len(base["losses"][""]["none"][one.id]) == len(one.words)
    # Both arms learnt something of their own.
    assert base["losses"][""] != prose["losses"][""] != offline["losses"][""]
    assert set(base["losses"]) == set(offline["losses"]) == {"", "offline"}
    assert set(prose["losses"]) == {""}
    assert set(offline["losses"]["offline"]) == {"right", *SHUFFLES}
    assert offline["losses"]["offline"]["right"] != offline["losses"]["offline"]["other book"]
    # A second run trains nothing and reports the same.
    assert run(SPEC) == results
    assert not any("step" in line for line in said)
    document = plan_study_document(results, held_out, plans, {})
    tables = {part.title: part for section in document.sections for part in section.parts}
    assert len(tables) == 2
    assert all(markdown(table) for table in tables.values())
    first = next(iter(tables.values()))
    assert [row[:2] for row in first.rows] == [
        ("base", "none"),
        ("base", "offline"),
        ("no plan", "none"),
        ("offline", "none"),
        ("offline", "offline"),
    ]


@pytest.mark.slow
def test_passages_are_written_from_the_right_plans(material, books, plans, tmp_path):
    train_on, held_out = books["Ann"][1], [*books["Bo"][1], *books["Cy"][1]]
    spec = PlanStudySpec(generated=4)
    results = run_plan_study(material / "model", train_on, held_out, plans, tmp_path, spec, arms=["base"])
    assert {name: set(texts) for name, texts in results[0]["texts"].items()} == {"offline": {o.id for o in held_out}}
    document = plan_study_document(results, held_out, plans, {})
    rows = document.sections[1].parts[0].rows
    assert [row[:2] for row in rows] == [("the author", "offline"), ("base", "offline")]


def test_every_passage_is_a_row_of_its_own(books, plans, tokenizer):
    """Otherwise short passages would share a row, and arms would learn different numbers of them in a step."""
    one = trajectory_of(books["Ann"][1][0], None, tokenizer)
    longer = padded(one, 256)
    assert len(longer) == 256
    np.testing.assert_array_equal(longer.tokens[: len(one)], one.tokens)
    assert longer.weights.sum() == one.weights.sum() > 0


def test_what_cannot_be_studied_is_refused_before_anything_is_written(material, books, plans, tmp_path):
    held_out = [*books["Bo"][1], *books["Cy"][1]]
    with pytest.raises(InputError, match="trained on and held out"):
        run_plan_study(material / "model", books["Bo"][1], held_out, plans, tmp_path)
    with pytest.raises(InputError, match="has no plan of kind 'offline'"):
        run_plan_study(material / "model", books["Ann"][1], held_out, {"offline": {}}, tmp_path)
    with pytest.raises(InputError, match="use some of base, no plan"):
        run_plan_study(material / "model", books["Ann"][1], held_out, {}, tmp_path, arms=["offline"])
    assert not any(tmp_path.iterdir())


def test_the_plans_of_a_served_model_say_what_it_could_not_answer(model_server, books, tmp_path):
    from polaris_jax.llm import ClientSpec, open_client
    from polaris_jax.studies.plans import model_plans

    novel, openings = books["Ann"]
    spec = ClientSpec("openai", "smollm2", f"{model_server}/v1", cache=str(tmp_path / "replies"), timeout=300)
    with open_client(spec) as client:
        cards = model_plans(novel, openings[:1], client)
        calls = client.usage.summary()["calls"]
        assert model_plans(novel, openings[:1], client) == cards
        assert client.usage.summary()["calls"] == calls >= 1  # the second time from the cache
    (card,) = cards.values()
    assert card.scene.summary
    assert card.scene.text == ""
    assert set(card.fallback) <= {"name", "focuses", "perspective", "summary"}
    offline = offline_plans(novel, openings[:1])[openings[0].id]
    assert "summary" in card.fallback or card.scene.summary != offline.scene.summary
