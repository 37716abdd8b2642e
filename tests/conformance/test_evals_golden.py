"""The evaluation formulas, parsers and the memorisation audit against the given golden cases."""

import json
import math

import published_scores
import pytest

from polaris_jax.evals.benches import (
    eqbench_creative,
    eqbench_longform,
    longbench_write,
)
from polaris_jax.evals.benches.bench import key_of
from polaris_jax.evals.length import length_score
from polaris_jax.studies.memorisation import overlap, strip_thinking, summarise


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "specs" / "polaris_golden.json").read_text())


def same(ours, given):
    """Equal as the golden file compares: None is None, floats to 1e-12."""
    if given is None or ours is None:
        return ours is given
    return math.isclose(ours, given, rel_tol=0, abs_tol=1e-12)


def test_longbench_write(golden):
    for case in golden["longbench_write"]["cases"]:
        scores = published_scores.criteria_scores(case["scores"])
        quality = published_scores.quality_score(scores)
        length = longbench_write.length_score(case["target_length"], case["word_count"])
        assert len(scores) == case["n"], case
        assert same(quality, case["sq"]), case
        assert same(length, case["sl"]), case
        assert same(published_scores.combined_score(quality, length), case["combined"]), case
        assert same(sum(scores.values()) / len(scores) if scores else None, case["mean_1_5"]), case


def test_eqbench_creative(golden):
    for case in golden["eqbench_creative"]["cases"]:
        scores = published_scores.adjusted(eqbench_creative, case["judge_text"])
        assert len(scores) == case["n"], case["desc"]
        assert same(eqbench_creative.rubric_score(scores), case["rubric_0_20"]), case["desc"]
        assert same(eqbench_creative.total_score(scores), case["score_0_100"]), case["desc"]


def test_eqbench_longform(golden):
    for case in golden["eqbench_longform"]["cases"]:
        scores = published_scores.adjusted(eqbench_longform, case["judge_text"])
        assert len(scores) == case["n"], case["desc"]
        ours = {key_of(name): scores.get(name) for name in eqbench_longform.CRITERIA}
        assert set(ours) == set(case["adjusted"])
        assert all(same(ours[key], value) for key, value in case["adjusted"].items()), case["desc"]
        assert same(eqbench_longform.weighted_score(scores), case["weighted_0_100"]), case["desc"]
        assert same(eqbench_longform.uniform_score(scores), case["uniform_mean_0_100_rederived"]), case["desc"]


def test_writingbench_answers(golden):
    for case in golden["writingbench"]["cases"]:
        if "output" in case:
            assert same(published_scores.criterion_score(case["output"]), case["score"]), case


def test_writingbench_aggregate(golden):
    """Six records of two stories, of which three have a score: 7 and 8 of the first, 3 of the second."""
    given = next(c for c in golden["writingbench"]["cases"] if "aggregate_of_above_two_stories" in c)
    given = given["aggregate_of_above_two_stories"]
    assert (
        published_scores.aggregate(
            [
                ("s0", "c0", 7),
                ("s0", "c1", 8),
                ("s0", "c2", None),
                ("s1", "c0", 3),
                ("s1", "c1", None),
                ("s1", "c2", None),
            ]
        )
        == given
    )


def test_pairwise(golden):
    for case in golden["pairwise"]["cases"]:
        if "output" in case:
            ours = published_scores.published_verdict(case["output"])
            for name in ("plus_a", "plus_b", "plus_diff", "verdict", "score_a"):
                assert getattr(ours, name) == case[name], case["id"]


def test_story_quality(golden):
    for case in golden["eval_story_quality"]["cases"]:
        ours = published_scores.published_score(case["output"])
        for name in ("overall_score", "model_overall", "unclipped", "source"):
            assert getattr(ours, name) == case[name], case["desc"]


def test_length_score(golden):
    for case in golden["eval_length_score"]["cases"]:
        assert same(length_score(case["target"], case["words"]), case["length_score"]), case


def test_memorisation(golden):
    seen = set()
    for case in golden["memorization"]["cases"]:
        if "generated" in case:
            found = overlap(case["generated"], case["gold"])
            assert (found.prefix, found.longest, found.start_generated, found.start_gold) == (
                case["exact_prefix"],
                case["lcs"],
                case["lcs_start_gen"],
                case["lcs_start_gold"],
            )
            seen.add("overlap")
        elif "story_text" in case:
            assert strip_thinking(case["text"]) == case["story_text"]
            seen.add("thinking")
        elif "summary" in case:
            assert summarise(case["summary_input"]) == case["summary"]
            seen.add("summary")
    assert seen == {"overlap", "thinking", "summary"}
