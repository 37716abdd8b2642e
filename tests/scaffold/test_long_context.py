"""Plans by a model with a long context: few questions, one growing prompt, and one refused passage costs no other."""

import json
import re
from dataclasses import replace

import pytest
from scripted import Scripted, novel_of, sound, words_of

from polaris_jax.llm import BudgetSpent, CallFailed
from polaris_jax.scaffold import FULL, ForecastClient, LLMAnnotator, build_books, fallback_share, mini_profile
from polaris_jax.scaffold.llm import prompts
from polaris_jax.scaffold.llm.context_budget import tokens
from polaris_jax.trajectory import Vector, check, render

PEOPLE = (("Mary", "mill"), ("Thomas", "harbour"), ("Ann", "chapel"), ("Ben", "inn"), ("Ruth", "quarry"))
NOVEL = novel_of(*(words_of(name, place, 900) for name, place in PEOPLE))


def build(rule=lambda request: None, novel=NOVEL, profile=FULL, client=None, context_tokens=131_072, **options):
    client = client or Scripted(rule)
    books = build_books(novel, LLMAnnotator(client, context_tokens=context_tokens, **options), profile)
    for book in books:
        assert check(render(book), "corpus").ok, check(render(book), "corpus").violations[:3]
    return books[0], client


def openings(request):
    """Paragraphs 9 and 17 of every chapter open scenes."""
    if request.purpose != "scene boundaries":
        return None
    return {chapter: [1, 9, 17] for chapter in json.loads(request.schema)["properties"]}


def cards(client):
    return [request for request in client.asked if request.purpose == "cards"]


def shown(request):
    """The book's text in a request."""
    return request.messages[1][1].split("\n\n---\n")[0]


def fields_of(request):
    return {
        f"{card}/{name}" if "properties" in part else card
        for card, part in json.loads(request.schema)["properties"].items()
        for name in part.get("properties", [""])
    }


def test_a_book_is_asked_about_in_few_questions_and_nothing_falls_back():
    book, client = build(openings)
    assert book.provenance["fallback"] in ((), ("arcs",))  # the scripted model names one opening only
    assert client.purposes["scene boundaries"] == 1
    assert 1 <= client.purposes["cards"] <= 2
    assert not client.purposes["embedding"] + client.purposes["scene card"] + client.purposes["chapter card"]
    assert [len(chapter.scenes) for chapter in book.chapters] == [3] * 5


def test_whatever_a_question_shows_is_the_beginning_of_what_the_first_one_showed():
    _, client = build(openings)
    about_the_book = [request for request in client.asked if request.shared_prefix]
    assert len(about_the_book) > len(cards(client)) + 4
    first = shown(about_the_book[0])
    assert about_the_book[0].purpose == "scene boundaries"
    for request in about_the_book:
        assert request.messages[0] == about_the_book[0].messages[0]
        assert prompts.guide() in request.messages[0][1]
    for request in cards(client):
        assert first.startswith(shown(request))
    for request in about_the_book[1 + len(cards(client)) :]:
        assert shown(request).startswith(first)


def test_no_question_for_cards_shows_an_answer():
    """So that the questions stay the same whatever has failed before, and nothing is paid for twice."""
    _, one = build(openings)
    _, other = build(lambda r: openings(r) or (CallFailed("server", 1, "no") if r.purpose == "cards" else None))
    assert [r.key("") for r in cards(one)] == [r.key("") for r in cards(other)][: len(cards(one))]


def test_the_four_readings_of_a_scene_become_its_vector():
    def rule(request):
        if request.purpose == "cards":
            said = sound(request)
            for card in (card for key, card in said.items() if key.startswith("scene")):
                card["readings"] = [[20, 6, 90, 0, 0, 0, 50], [22, 9, 10, 0, 0, 0, 50], [24, 12, 12, 0, 0, 0, 50]]
                card["readings"].append([26, 9, 12, 0, 0, 0, 50])
            return said
        return None

    book, _ = build(rule)
    values = {"action": 23, "dialog": 0, "world_building": 12, "exposition": 0, "romantic": 0, "erotic": 0}
    assert book.chapters[0].scenes[0].vector == Vector(**values, pacing=50)


def test_a_correction_asks_for_what_was_wrong_and_for_nothing_else():
    def rule(request):
        if request.purpose == "cards" and "scene 1.1" in request.schema:
            said = sound(request)
            said["scene 1.1"]["summary"] = ["Too short."]
            said["chapter 2"]["summary"] = ["Napoleon arrives with a heavy trunk."]
            return said
        return None

    book, client = build(rule)
    (repair,) = [request for request in client.asked if request.purpose == "cards, repair"]
    assert fields_of(repair) == {"scene 1.1/summary", "chapter 2/summary"}
    assert "only 2 words" in repair.messages[-1][1]
    assert "Napoleon" in repair.messages[-1][1]
    assert fallback_share(book) <= 1 / book.provenance["fields"]


@pytest.mark.parametrize("kind", ["refused", "truncated", "empty", "invalid_json"])
def test_a_passage_that_spoils_an_answer_costs_its_own_cards_only(kind):
    def rule(request):
        if request.purpose.startswith("cards") and "Ann" in shown(request):
            return CallFailed(kind, 2, "no", reply="")
        return openings(request)

    book, client = build(rule)
    fallen = {path for path in book.provenance["fallback"] if path.startswith("chapters")}
    assert fallen
    assert all(path.startswith("chapters/2/") for path in fallen)
    assert {book.provenance["failures"][path] for path in fallen} == {kind}
    assert client.purposes["cards"] < 15


def test_where_the_book_is_refused_its_notes_are_asked_about_alone():
    """Rules, style and people come from the cards where a provider refuses the book."""
    refused = CallFailed("refused", 1, "no")
    book, client = build(lambda r: refused if r.shared_prefix and r.purpose == "world rules" else openings(r))
    assert client.purposes["world rules"] == 2
    assert "world_rules" not in book.provenance["failures"]


@pytest.mark.parametrize("context", [32_768, 65_536, 200_000])
def test_every_request_of_a_whole_novel_fits_the_window(hallin, context):
    _, client = build(openings, hallin, context_tokens=context)
    for request in client.asked:
        used = sum(tokens(text) for _, text in request.messages) + tokens(request.schema) + request.max_tokens
        assert used <= context, (request.purpose, used)
    assert client.purposes["scene boundaries"] == (1 if context > 40_000 else client.purposes["scene boundaries"])


def test_a_book_beyond_the_window_is_sent_in_the_largest_runs_of_chapters_that_fit():
    novel = novel_of(*(words_of(f"{name}a", place, 5_000) for name, place in PEOPLE * 2))
    book, client = build(openings, novel, context_tokens=49_152)
    sections = [shown(r) for r in client.asked if r.purpose == "scene boundaries"]
    assert len(sections) > 1
    found = [int(n) for text in sections for n in re.findall(r"(?m)^CHAPTER (\d+):", text)]
    assert found == list(range(1, 11))
    assert "NAMED IN THE CHAPTERS BEFORE: " in sections[1]
    assert "Marya" in sections[1].split("\n")[0]
    assert set(book.provenance["fallback"]) <= {"arcs"}


def test_a_chapter_beyond_the_window_and_a_small_window_are_planned_scene_by_scene():
    # Few words, which would divide a chapter, and many letters.
    novel = novel_of(
        words_of("Mary", "mill", 300).replace("Mary", "Ma" + "ry" * 4000), *(words_of(*p, 300) for p in PEOPLE)
    )
    for context, material in ((32_768, novel), (32_767, NOVEL)):
        _, client = build(novel=material, context_tokens=context, samples=1)
        assert client.purposes["scene card"] > 0
        assert not client.purposes["cards"]


def test_a_chapter_whose_cards_do_not_fit_one_answer_is_divided():
    many = novel_of(words_of("Mary", "mill", 9_800), words_of("Ann", "chapel", 300))
    book, client = build(
        lambda r: (
            {key: list(range(1, 200, 18))[:12] for key in json.loads(r.schema)["properties"]}
            if r.purpose == "scene boundaries"
            else None
        ),
        many,
        context_tokens=40_000,
    )
    assert len(book.chapters[0].scenes) > 6
    assert len(cards(client)) > 1
    assert all(request.max_tokens <= 10_000 for request in cards(client))
    asked = [key for request in cards(client) for key in fields_of(request)]
    assert len(asked) == len(set(asked))


def test_a_run_that_was_stopped_goes_on_at_the_first_unanswered_question():
    whole, unhurried = build(openings)
    client = Scripted(openings, allowed=0, stop=BudgetSpent("tokens", 1, 1, 1))
    for step in (1, 1, 4, 3):
        client.allowed = step
        with pytest.raises(BudgetSpent):
            build(client=client)
    client.allowed = None
    book, _ = build(client=client)
    assert [r.key("") for r in client.asked] == [r.key("") for r in unhurried.asked]
    assert render(book) == render(whole)


def test_small_volumes_are_asked_about_whole_too():
    _, client = build(profile=mini_profile(None))
    assert client.purposes["cards"] == client.purposes["preview"]


def test_a_forecast_counts_what_the_providers_cache_has_read(hallin):
    small, large = ForecastClient("openai/toy"), ForecastClient("openai/toy")
    build(novel=hallin, client=small, context_tokens=8_192)
    build(novel=hallin, client=large, context_tokens=131_072)
    assert large.usage.calls < small.usage.calls / 3
    fresh = large.usage.prompt_tokens - large.usage.cached_tokens
    text = sum(tokens(chapter.text) for chapter in hallin.chapters)
    assert text < fresh < 0.6 * large.usage.prompt_tokens
    assert small.usage.cached_tokens < 0.2 * small.usage.prompt_tokens


def test_a_schema_stands_where_it_spoils_no_shared_beginning():
    from polaris_jax.llm import ClientSpec, Request
    from polaris_jax.llm.openai_transport import OpenAITransport

    pytest.importorskip("openai")
    schema = '{"type":"object","properties":{},"required":[],"additionalProperties":false}'
    request = Request((("system", "s"), ("user", "u")), schema=schema, shared_prefix=True)
    hosted, own = (OpenAITransport(ClientSpec("openai", "m", **more)) for more in ({}, {"base_url": "http://x/v1"}))
    assert hosted.body(request)["response_format"] == {"type": "json_object"}
    assert hosted.body(request)["messages"][-1]["content"].endswith(schema)
    assert hosted.body(replace(request, shared_prefix=False))["response_format"]["type"] == "json_schema"
    assert own.body(request)["response_format"]["type"] == "json_schema"


# Tokens at 3.5 characters: a prompt that grows unseen is paid for with every call.
SIZES = {"system": 140, "guide": 1_300, "cards": 340, "book_boundaries": 140, "world_rules": 75, "request": 100}


@pytest.mark.parametrize("name", SIZES)
def test_the_prompts_have_their_sizes(name):
    written = prompts.guide() if name == "guide" else prompts.text(name)
    assert 0.7 * SIZES[name] < tokens(written) <= SIZES[name]


def test_the_guide_names_every_forbidden_phrase_and_uses_none_elsewhere():
    before, _, after = prompts.guide().lower().partition("never write")
    listed, _, example = after.partition("an example")
    assert len(prompts.forbidden()) >= 15
    for phrase in prompts.forbidden():
        assert f"- {phrase}" in listed
        assert phrase not in before
    assert any(phrase in example for phrase in prompts.forbidden())  # as an example of a useless note
