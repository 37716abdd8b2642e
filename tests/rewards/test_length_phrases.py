"""How people ask for a length, in many words and languages: each is read, met, and hidden from the judge."""

import json
from pathlib import Path

import pytest

from polaris_jax.rewards import count_words, length_request, requested_words, score, without_length_request

STORY = " ".join(f"w{number}" for number in range(2400)) + "."
GOLDEN = [json.loads(line) for line in Path(__file__).with_name("length_phrases.jsonl").read_text("utf-8").splitlines()]


def test_there_are_a_hundred_phrasings():
    assert len(GOLDEN) > 100


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["prompt"][:60])
def test_a_phrasing(case):
    found = length_request(case["prompt"])
    if case["number"] is None:
        assert found is None
        assert without_length_request(case["prompt"]) == case["prompt"]
        return
    assert {name: getattr(found, name) for name in ("number", "least", "most", "unit", "guessed")} == {
        name: case[name] for name in ("number", "least", "most", "unit", "guessed")
    }
    hidden = without_length_request(case["prompt"])
    assert hidden == case.get("shown", hidden)


@pytest.mark.parametrize(
    "prompt", [case["prompt"] for case in GOLDEN if case["number"] == 2400 and case["unit"] == "words"]
)
def test_a_story_of_that_length_is_not_wrong(prompt):
    assert requested_words(prompt) == 2400
    assert score(STORY, prompt).components["length_pen"] == 0


@pytest.mark.parametrize(
    ("prompt", "words", "wrong"),
    [
        ("Write a tale of at least 2400 words.", 9000, False),
        ("Write a tale of at least 2400 words.", 1500, True),
        ("Write a tale of at most 2400 words.", 200, False),
        ("Write a tale of at most 2400 words.", 4000, True),
        ("Write a tale of 1000 to 4000 words.", 700, False),
        ("Write a tale of 1000 to 4000 words.", 4900, False),
        ("Write a tale of 1000 to 4000 words.", 600, True),
        ("Write a tale of 1000 to 4000 words.", 5100, True),
    ],
)
def test_a_range_is_met_by_all_that_lies_in_it_and_its_tolerance(prompt, words, wrong):
    assert (score("w " * words, prompt).components["length_pen"] > 0) is wrong


@pytest.mark.parametrize(
    "prompt",
    [
        "Tell of a keeper. The story should be between 2000 and 2400 words long.",
        "Tell of a keeper. It should be 2400 words in length.",
    ],
)
def test_the_judge_does_not_see_it(prompt):
    assert without_length_request(prompt) == "Tell of a keeper."


def test_without_a_phrase_the_reference_is_the_measure():
    breakdown = score(STORY, "Tell me about a lighthouse keeper.", human_reference_words=2400)
    assert breakdown.components["length_pen"] == 0
    assert breakdown.diagnostics["target_from"] == "human reference"
    assert score("w " * 300, "Tell me of a keeper.", human_reference_words=2400).components["length_pen"] > 0


def test_without_a_phrase_and_a_reference_no_length_is_wrong():
    for words in (150, 2400, 20_000):
        breakdown = score("w " * words, "Tell me about a lighthouse keeper.")
        assert breakdown.components["length_pen"] == 0
    assert (breakdown.diagnostics["target_words"], breakdown.diagnostics["target_guessed"]) == (None, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("He didn't stop.", 4),
        ("他在雨夜里点起灯塔的灯。" * 100, 1100),
        ("第1章 The End", 5),
        ("ランプを灯した。", 7),
        ("e\u0301te\u0301 à la mer", 4),
        ("हिन्दी में लिखो", 3),
        ("مُحَمَّد كتب", 2),
        ("등대지기는 불을 켰다", 3),
        ("Слова — это слова", 3),
    ],
)
def test_words_of_any_script(text, words):
    assert count_words(text) == words


def test_a_story_without_blanks_meets_its_length():
    story = "他在雨夜里点起灯塔的灯。" * 100
    assert score(story, "写一个一千字的故事").components["length_pen"] == 0
    assert score(story[:300], "写一个一千字的故事").components["length_pen"] > 0
