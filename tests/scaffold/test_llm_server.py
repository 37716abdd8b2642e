"""A real model behind a real server plans a tiny novel: poorly, but every part of the machinery has to hold."""

from dataclasses import replace

import pytest
from scripted import novel_of, words_of

from polaris_jax.llm import BudgetSpent, ClientSpec
from polaris_jax.scaffold import AnnotatorSpec, build_books, fallback_share, mini_profile, open_annotator
from polaris_jax.scaffold.field_paths import field_paths
from polaris_jax.scaffold.profile import TINY
from polaris_jax.trajectory import check, render

NOVEL = novel_of(words_of("Mary", "mill", 70), words_of("Thomas", "harbour", 70))
PROFILE = replace(mini_profile(None), details=(TINY,))


@pytest.fixture
def plan(smollm2, tmp_path):
    """``plan(**client)``: the book as SmolLM2 plans it with the test's cache, and what its client counted."""

    def run(provider="openai", **fields):
        live = {"base_url": smollm2, "concurrency": 2, "attempts": 2, "backoff": 0.01, "timeout": 120.0}
        model, fields = ("smollm2", live | fields) if provider == "openai" else ("openai/smollm2", fields)
        client = ClientSpec(provider, model, cache=str(tmp_path / "replies"), **fields)
        annotator = open_annotator(AnnotatorSpec("llm", client, samples=1, context_tokens=4096))
        try:
            (book,) = build_books(NOVEL, annotator, PROFILE)
        finally:
            annotator.close()
        return book, annotator.client.usage

    return run


def assert_sound(book):
    assert check(render(book), "corpus").ok, check(render(book), "corpus").violations[:3]
    paths = list(field_paths(book.chapters, book.arcs, 4))
    assert book.provenance["fields"] == len(paths)
    assert set(book.provenance["fallback"]) == set(book.provenance["failures"]) <= set(paths)
    assert book.provenance["annotator"] == "openai/smollm2"


def test_a_build_stopped_by_its_budget_leaves_its_answers_and_a_replay_makes_the_book(plan):
    with pytest.raises(BudgetSpent):
        plan(budget_tokens=3_400)
    book, ledger = plan("replay")
    assert ledger.calls == 0
    assert ledger.cached >= 2
    assert_sound(book)
    assert not [path for path in book.provenance["fallback"] if path.endswith("vector")]
    assert "not_recorded" in book.provenance["failures"].values()
    assert fallback_share(book) > 0.05
    again, _ = plan("replay")
    assert render(again) == render(book)
    assert again.provenance == book.provenance


@pytest.mark.slow
def test_a_stopped_build_goes_on_where_it_was_and_a_finished_one_asks_nothing(plan):
    with pytest.raises(BudgetSpent):
        plan(budget_tokens=6_000)
    book, resumed = plan()
    assert resumed.cached >= 2
    assert_sound(book)
    again, ledger = plan()
    assert ledger.calls == 0
    assert ledger.cached == resumed.calls - resumed.retries + resumed.cached
    assert render(again) == render(book)
    assert again.provenance == book.provenance
