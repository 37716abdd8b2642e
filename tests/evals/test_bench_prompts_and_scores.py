"""Prompts to judges and readings of their answers: what every prompt holds, and odd answers that are no scores."""

import json

import pytest
from published_scores import criterion_score, published_score

from polaris_jax.errors import InputError
from polaris_jax.evals.benches import BENCHES, Unusable, eqbench_creative, eqbench_longform, open_bench
from polaris_jax.evals.generations import Generation
from polaris_jax.llm import Request
from polaris_jax.rewards.dimensions import DIMENSIONS

STORY = Generation(
    "1",
    "Tell of a ferry. It should be 2,000 words long.",
    "THE STORY ITSELF {with} braces.",
    2000,
    "m",
    {"checklist": [{"name": "Voice", "criteria_description": "d", "1-2": "none"}]},
)


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_shows_the_judge_prompt_and_story(name):
    for prompt in open_bench(name).judge_prompts(STORY):
        text = "\n".join(content for _, content in prompt.messages)
        assert STORY.story in text
        assert "Tell of a ferry." in text
        Request(prompt.messages, schema=prompt.schema)  # a valid schema


def test_story_quality_hides_the_requested_length():
    [prompt] = open_bench("story-quality").judge_prompts(STORY)
    assert "2,000" not in prompt.messages[1][1]


@pytest.mark.parametrize(("bench", "positives", "negatives"), [(eqbench_longform, 6, 6), (eqbench_creative, 13, 9)])
def test_eqbench_has_the_published_criteria(bench, positives, negatives):
    assert (len(bench.VIRTUES), len(bench.FAULTS)) == (positives, negatives)
    best = "\n".join(f"{name}: {20 if name in bench.VIRTUES else 0}" for name in bench.CRITERIA)
    score = bench.uniform_score if bench is eqbench_longform else bench.total_score
    assert score(bench.adjusted(best)) == 100


def test_score_lines_are_read_where_they_stand():
    scored = "  Coherent : [17.5]\nweak dialogue: 25\nUnknown: 3\nCompelling Plot: -4\n"
    text = f"Coherent: 1\n[Scores]\n{scored}---\nCoherent: 2"
    scores = eqbench_longform.adjusted(text)
    assert scores == {"Coherent": 17.5, "Weak Dialogue": 0.0, "Compelling Plot": 0.0}


def test_a_line_of_its_own_is_never_overwritten_by_a_similar_one():
    scores = eqbench_creative.adjusted("[Scores]\nEmotionally Engaging: 5\nEmotionally vivid: 15")
    assert scores == {"Emotionally Engaging": 5, "Emotionally Complex": 15}


def reply_text(**other):
    return json.dumps({d.id: 0 for d in DIMENSIONS} | {"P1": 10, "P2": 20, "N2": 4, "BONUS": 3, "PENALTY": 8} | other)


def test_story_quality_adds_up_the_scores_itself():
    bench = open_bench("story-quality", "brief")
    read = bench.read_answer(reply_text(positive_total=99, negative_total=0), STORY, "story")
    assert (read["overall"], read["positive"], read["negative"], read["miscounted"]) == (29, 30, 4, 1)
    # The training formula subtracts the penalty, capped at 3 for a story that earns far more than it loses.
    assert read["training"] == 30 - 4 + 3 - 3
    for wrong in (reply_text(P1=16), reply_text(P1=None), "{}", "no"):
        with pytest.raises(Unusable):
            bench.read_answer(wrong, STORY, "story")


def test_the_published_evaluation_trusts_the_judges_totals():
    assert published_score({"positive_total": 120, "negative_total": 5, "bonus_score": 2}).overall_score == 100
    assert published_score({"overall_score": 12}).overall_score == 12
    assert published_score("[1]").overall_score is None


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 11}', None),
        ('{"score": 0}', None),
        ('{"score": true}', None),
        ('{"score": "7"}', 7),
        ('{"score": 9.99}', 9),
        ('{"reason": "x"}', None),
        ("[7]", None),
    ],
)
def test_writingbench_takes_whole_numbers_from_one_to_ten(reply, score):
    assert criterion_score(reply) == score


def test_there_is_no_such_bench():
    with pytest.raises(InputError, match="story-quality"):
        open_bench("poetry")
    with pytest.raises(InputError, match="brief"):
        open_bench("story-quality", "long")
