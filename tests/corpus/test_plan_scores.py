"""Every planned book of a report has a score with its parts; ``--min-plan-score`` leaves out books with less."""

from dataclasses import replace

import pytest
from corpus_library import OPTIONS

from polaris_jax.corpus import BuildOptions, build_library, find_novels
from polaris_jax.errors import InputError


def test_a_book_has_a_score_and_is_left_out_below_the_least(library, tokenizer, tmp_path):
    novels = find_novels([str(library / "the-weir.txt")])
    build = build_library(novels, tmp_path / "a", tokenizer, OPTIONS, work=tmp_path / "work")
    (book,) = build.report["books"]
    plan = book["plan"]
    assert 50 < plan["score"] < 100
    assert all(0 <= part <= 1 for part in plan["parts"].values())
    strict = replace(OPTIONS, min_plan_score=99.9)
    with pytest.raises(InputError, match="Its plan scores"):
        build_library(novels, tmp_path / "b", tokenizer, strict, work=tmp_path / "work")


@pytest.mark.parametrize("score", [-1.0, 101.0])
def test_a_score_is_between_0_and_100(score):
    with pytest.raises(InputError, match="min-plan-score"):
        BuildOptions(min_plan_score=score)
