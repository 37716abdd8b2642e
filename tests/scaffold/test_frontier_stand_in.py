"""A stand-in for a large model behind a real HTTP server: it thinks, declines and breaks off, and a book results."""

import json
import os
from dataclasses import replace

import pytest
from http_model import honest
from scripted import novel_of, words_of
from servers import Handler, Server, completion

from polaris_jax.library import read_novel
from polaris_jax.llm import ClientSpec
from polaris_jax.scaffold import FULL, AnnotatorSpec, build_books, fallback_share, mini_profile, open_annotator
from polaris_jax.scaffold.profile import TINY
from polaris_jax.trajectory import check, render

pytest.importorskip("openai", reason="pip install polaris-jax[llm] to run this")
PEOPLE = (("Agnes", "mill"), ("Tom", "weir"), ("Ruth", "ford"), ("Ben", "quarry"))
NOVEL = novel_of(*(words_of(name, place, 700) for name, place in PEOPLE))


def planned(server, tmp_path, **more):
    client = ClientSpec("openai", "toy", base_url=f"{server.address}/v1", backoff=0.0, cache=str(tmp_path / "replies"))
    annotator = open_annotator(AnnotatorSpec("llm", client, context_tokens=131_072, **more))
    try:
        (book,) = build_books(NOVEL, annotator, FULL)
    finally:
        annotator.close()
    assert check(render(book), "corpus").ok
    return book, annotator.client.usage


def test_it_thinks_beyond_its_room_once_and_is_given_twice_as_much(serve, tmp_path):
    """Every answer is empty until its limit is doubled: thinking has used it up. Nothing falls back."""
    least = {}

    def said(body):
        key = json.dumps(body["messages"])
        if body["max_tokens"] == least.setdefault(key, body["max_tokens"]):
            return "<think>Let me go through the book once more", "length"
        return honest(body)

    book, usage = planned(serve(said), tmp_path)
    assert set(book.provenance["failures"]) <= {"arcs"}
    assert usage.retries == sum(1 for _ in least)


def test_it_declines_one_chapter_and_the_others_are_planned(serve, tmp_path):
    def said(body):
        book, _, question = body["messages"][1]["content"].partition("\n\n---\n")
        return ("", "content_filter") if "Ruth" in book and "card" in question else honest(body)

    book, _ = planned(serve(said), tmp_path)
    fallen = {path for path, kind in book.provenance["failures"].items() if kind == "refused"}
    assert fallen
    assert all(path.startswith("chapters/2/") for path in fallen)


def test_answers_come_in_fences_with_remarks_and_are_read(serve, tmp_path):
    def said(body):
        text, finish = honest(body)
        return f"<think>Easy.</think>Here it is:\n```json\n{text}\n```", finish

    book, _ = planned(serve(said), tmp_path)
    assert set(book.provenance["failures"]) <= {"arcs"}


def test_a_second_build_pays_for_nothing(serve, tmp_path):
    server = serve(honest)
    first, _ = planned(server, tmp_path)
    calls = server.calls
    second, usage = planned(server, tmp_path)
    assert server.calls == calls
    assert usage.calls == 0
    assert render(first) == render(second)


def test_what_the_providers_cache_has_read_is_counted(tmp_path):
    class Cached(Handler):
        def do_POST(self):
            answer = completion(*honest(self.body()))
            cached = {"prompt_tokens_details": {"cached_tokens": 8_000}}
            answer["usage"] = {"prompt_tokens": 10_000, "completion_tokens": 10} | cached
            self.answer(200, answer)

    with Server(Cached) as server:
        _, usage = planned(server, tmp_path)
    assert usage.cached_tokens == 8_000 * usage.calls
    assert usage.summary()["cached_tokens"] == usage.cached_tokens


@pytest.mark.slow
def test_a_real_small_model_behind_a_real_server_holds_the_machinery(smollm2, tmp_path):
    """SmolLM2 answers by llama.cpp's grammar: poorly, but the whole plan of a tiny book goes through."""
    novel = novel_of(words_of("Mary", "mill", 70), words_of("Thomas", "harbour", 70))
    live = {"base_url": smollm2, "concurrency": 2, "attempts": 2, "backoff": 0.01, "timeout": 300.0}
    client = ClientSpec("openai", "smollm2", cache=str(tmp_path / "replies"), **live)
    profile = replace(mini_profile(None), details=(TINY,))
    runs = []
    for _ in range(2):
        annotator = open_annotator(AnnotatorSpec("llm", client, samples=2, context_tokens=32_768))
        try:
            (book,) = build_books(novel, annotator, profile)
        finally:
            annotator.close()
        assert check(render(book), "corpus").ok, check(render(book), "corpus").violations[:3]
        runs.append((book, annotator.client.usage))
    (first, usage), (second, again) = runs
    assert usage.calls > 0
    assert usage.summary()["purposes"]["cards"]["calls"] >= 1
    assert fallback_share(first) < 1
    assert again.calls <= usage.failed  # only what got no answer is asked again
    assert len(second.chapters) == len(first.chapters)


@pytest.mark.slow
@pytest.mark.skipif("POLARIS_ANNOTATOR" not in os.environ, reason="POLARIS_ANNOTATOR=provider/model asks a paid model")
def test_the_annotator_of_ones_choice_plans_a_novel(shared, tmp_path):
    """``POLARIS_ANNOTATOR=gemini/gemini-2.5-flash`` (``openai/...`` too; ``POLARIS_ANNOTATOR_URL`` names a server)."""
    provider, _, model = os.environ["POLARIS_ANNOTATOR"].partition("/")
    address = os.environ.get("POLARIS_ANNOTATOR_URL")
    folder = os.environ.get("POLARIS_ANNOTATOR_CACHE") or str(tmp_path / "replies")
    client = ClientSpec(provider, model, base_url=address, cache=folder, timeout=600.0)
    novel = read_novel(shared / "corpus" / "stevenson_treasure-island.txt")
    annotator = open_annotator(AnnotatorSpec("llm", client, context_tokens=200_000, thinking_tokens=8_000))
    try:
        (book,) = build_books(novel, annotator, FULL)
    finally:
        annotator.close()
    usage = annotator.client.usage
    assert check(render(book), "corpus").ok
    assert usage.calls <= 120
    assert usage.prompt_tokens <= 3_000_000
    assert fallback_share(book) <= 0.05
