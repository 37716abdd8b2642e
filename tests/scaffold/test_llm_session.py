"""Repair once, then fall back for that field alone; what fits a window; what stops a build."""

from dataclasses import replace

import pytest
from scripted import Scripted, novel_of, sound, words_of

from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed
from polaris_jax.scaffold import (
    FULL,
    LLMAnnotator,
    OfflineAnnotator,
    build_books,
    fallback_share,
    mini_profile,
)
from polaris_jax.scaffold.llm.context_budget import pack, spread, tokens, windows
from polaris_jax.trajectory import check, render

NOVEL = novel_of(words_of("Mary", "mill", 110), words_of("Thomas", "harbour", 110))


def build(rule=lambda request: None, novel=NOVEL, profile=None, **options):
    client = Scripted(rule)
    (book,) = build_books(novel, LLMAnnotator(client, **options), profile or mini_profile(None))
    assert check(render(book), "corpus").ok, check(render(book), "corpus").violations[:3]
    return book, client


def first_chapter(request):
    return "day 0" in request.messages[1][1] and "Mary" in request.messages[1][1]


def test_a_sound_model_is_asked_once_per_question_and_nothing_falls_back():
    book, client = build()
    assert book.provenance["fallback"] == ()
    assert fallback_share(book) == 0
    assert client.purposes == {
        "scene boundaries": 2,
        "embedding": 8,
        "scene card": 2,
        "chapter card": 2,
        "long arc": 1,
        "medium arc": 1,
        "short arc": 1,
        "world rules": 1,
        "writing style": 1,
        "main characters": 1,
        "side characters": 1,
        "archetypes": 1,
        "preview": 1,
        "prompt": 4,
    }


def test_a_broken_limit_is_sent_back_once_with_the_reason():
    def rule(request):
        if request.purpose == "scene card" and first_chapter(request):
            return sound(request) | {"summary": ["Too short."]}
        return None

    book, client = build(rule)
    assert client.purposes["scene card, repair"] == 1
    (repair,) = [request for request in client.asked if request.purpose == "scene card, repair"]
    assert "only 2 words" in repair.messages[-1][1]
    assert repair.messages[2][0] == "assistant"
    assert "Too short." in repair.messages[2][1]
    assert book.provenance["fallback"] == ()


def test_what_the_repair_does_not_mend_falls_back_for_that_field_alone():
    def rule(request):
        if request.purpose.startswith("scene card") and first_chapter(request):
            return sound(request) | {"perspective": "in the manner of " * 9}
        return None

    book, client = build(rule)
    scene = book.chapters[0].scenes[0]
    assert book.provenance["fallback"] == ("chapters/0/scenes/0/perspective",)
    assert book.provenance["failures"] == {"chapters/0/scenes/0/perspective": "invalid"}
    assert scene.perspective == "Third person past tense, Mary"
    assert scene.name.startswith("A ")
    assert scene.summary[0].startswith("Somebody makes")
    assert client.purposes["scene card, repair"] == 1
    assert fallback_share(book) == 1 / book.provenance["fields"]


def test_an_answer_that_parrots_the_instruction_is_no_answer():
    def rule(request):
        if request.purpose.startswith("scene card") and first_chapter(request):
            return sound(request) | {"summary": ["What happens, in the order it is told."]}
        return None

    book, _ = build(rule)
    assert book.provenance["failures"] == {"chapters/0/scenes/0/summary": "invalid"}


def test_a_part_that_was_good_before_the_repair_is_kept():
    def rule(request):
        if request.purpose == "scene card" and first_chapter(request):
            return sound(request) | {"name": "The first name", "summary": ["No."]}
        if request.purpose == "scene card, repair":
            return sound(request) | {"name": "another " * 20}
        return None

    book, _ = build(rule)
    assert book.chapters[0].scenes[0].name == "The first name"
    assert book.provenance["fallback"] == ()


@pytest.mark.parametrize("kind", ["timeout", "server", "refused", "not_recorded"])
def test_a_failed_call_falls_back_with_its_kind_on_record(kind):
    failure = CallFailed(kind, 2, "no answer", "I would rather not")
    book, client = build(lambda request: failure if request.purpose == "preview" else None)
    assert book.provenance["failures"] == {"highlight": kind, "tags": kind, "archetype": kind}
    assert client.purposes["preview, repair"] == 0


@pytest.mark.parametrize(("kind", "text"), [("invalid_json", "{a"), ("truncated", '{"tags": "a'), ("empty", "")])
def test_an_answer_that_is_no_json_is_sent_back_too(kind, text):
    def rule(request):
        return CallFailed(kind, 2, "no JSON", reply=text) if request.purpose == "preview" else None

    book, client = build(rule)
    assert client.purposes["preview, repair"] == 1
    assert book.provenance["fallback"] == ()


@pytest.mark.parametrize("kind", ["auth", "bad_request", "quota"])
def test_a_server_that_refuses_everything_stops_the_build(kind):
    with pytest.raises(InputError, match=f"test/script.*{kind}"):
        build(lambda request: CallFailed(kind, 1, "HTTP 400"))


def test_when_every_call_fails_the_book_is_the_offline_annotators_and_says_so():
    novel = novel_of(words_of("Mary", "mill", 300), words_of("Thomas", "harbour", 300), words_of("Mary", "chapel", 200))
    book, _ = build(lambda request: CallFailed("timeout", 1, "nothing"), novel, FULL)
    assert fallback_share(book) == 1
    (offline,) = build_books(novel, OfflineAnnotator(), FULL)
    assert book.arcs[0].chapter_names == offline.arcs[0].chapter_names
    assert set(offline.world_rules) <= set(book.world_rules)  # a whole offline plan has fewer lines of counts


def test_copies_and_strange_names_are_rewritten_and_counted():
    def rule(request):
        if request.purpose == "scene card" and first_chapter(request):
            copied = "Mary carried the lantern to the mill on day 0 while it rained."
            return sound(request) | {"summary": [copied, "Napoleon arrives with a heavy trunk."]}
        return None

    book, client = build(rule, profile=replace(FULL, details=(replace(FULL.details[0], scene_words=40),)))
    assert book.provenance["faithfulness"] == {"unknown_names": 1, "copied_ngrams": 1, "rewrites": 1}
    (repair,) = [request for request in client.asked if request.purpose == "scene card, repair"]
    assert "Napoleon" in repair.messages[-1][1]
    assert "word for word" in repair.messages[-1][1]
    assert book.provenance["fallback"] == ()


def test_what_stays_unfaithful_is_cut_out_and_an_empty_rest_falls_back():
    def stubborn(lines):
        def rule(request):
            if request.purpose.startswith("scene card") and first_chapter(request):
                return sound(request) | {"summary": lines}
            return None

        profile = replace(FULL, details=(replace(FULL.details[0], scene_words=40),))
        return build(rule, profile=profile)[0]

    strange, fine = "Napoleon arrives with a heavy trunk.", "Mary waits for news of the cargo."
    kept = stubborn([strange, fine])
    assert kept.chapters[0].scenes[0].summary == (fine,)
    assert kept.provenance["fallback"] == ()
    lost = stubborn([strange])
    assert lost.provenance["failures"] == {"chapters/0/scenes/0/summary": "unfaithful"}
    assert "Napoleon" not in render(lost)


def test_a_name_from_an_earlier_card_of_the_chapter_is_no_stranger():
    text = words_of("Mary", "mill", 150) + "\n\n" + words_of("Thomas", "harbour", 150).replace("Mary", "she")
    breaks = {0: [len(words_of("Mary", "mill", 150).split("\n\n"))]}
    novel = novel_of(text, words_of("Ann", "chapel", 110), breaks=breaks)

    def rule(request):
        if request.purpose == "scene boundaries":
            return {"openings": []}
        if request.purpose == "scene card" and "Thomas" in request.messages[1][1]:
            return sound(request) | {"summary": ["Thomas thinks of what Mary said."]}
        if request.purpose == "scene card" and "Mary" in request.messages[1][1]:
            return sound(request) | {"summary": ["The light is left with Mary."]}
        return None

    book, client = build(rule, novel)
    assert [scene.summary for scene in book.chapters[0].scenes][1] == ("Thomas thinks of what Mary said.",)
    assert book.provenance["faithfulness"]["unknown_names"] == 0
    assert "The light is left with Mary." in next(
        r.messages[1][1] for r in client.asked if r.purpose == "scene card" and "THE SCENE BEFORE" in r.messages[1][1]
    )


@pytest.mark.parametrize("context", [3072, 4096, 8192])
def test_every_request_of_a_whole_novel_fits_the_window(hallin, context):
    _, client = build(novel=hallin, profile=FULL, context_tokens=context, samples=1)
    for request in client.asked:
        used = sum(tokens(text) for _, text in request.messages) + tokens(request.schema) + request.max_tokens
        assert used <= context, (request.purpose, used)


def test_long_books_are_condensed_before_they_are_described():
    texts = [words_of(name, "mill", 900) for name in ("Mary", "Thomas", "Ann", "Ben") * 4]

    def rule(request):
        if request.purpose == "chapter card":
            lines = [f"Somebody weighs a different matter {i} with care and says nothing of it." for i in range(6)]
            return sound(request) | {"summary": lines}
        return None

    book, client = build(rule, novel_of(*texts), FULL, context_tokens=3072, samples=1)
    assert client.purposes["synopsis"] > 0
    assert book.provenance["fallback"] == ("arcs",)  # the scripted model names one opening only
    assert len(book.chapters) == 16


def test_windows_cover_the_text_and_fit():
    for text in (words_of("Mary", "mill", 600), "她走进房间。他没有说话。" * 200, "x" * 5000, "word " * 900):
        parts = windows(text, 300)
        assert "".join(parts) == text
        assert max(map(tokens, parts)) <= 300
    items = [f"item {i} " * 10 for i in range(40)]
    runs = pack(items, 120, most=4)
    assert [item for run in runs for item in run] == items
    assert all(sum(tokens(item) for item in run) <= 120 and len(run) <= 4 for run in runs)
    few = spread(items, 200)
    assert few[0] == items[0]
    assert sum(map(tokens, few)) <= 200 < sum(map(tokens, items))
