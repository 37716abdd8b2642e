"""A model that never answers ends a build after a few calls, in one line; one that thinks long gets more tokens."""

import json

import pytest
from http_model import honest
from scripted import novel_of, words_of

from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec
from polaris_jax.scaffold import AnnotatorSpec, build_books, mini_profile, open_annotator

pytest.importorskip("openai", reason="pip install polaris-jax[llm] to run this")
NOVEL = novel_of(words_of("Agnes", "mill", 700), words_of("Tom", "weir", 700), words_of("Agnes", "ford", 600))


def annotator(server, concurrency=8, **more):
    client = ClientSpec("openai", "toy", base_url=f"{server.address}/v1", backoff=0.0, concurrency=concurrency)
    return open_annotator(AnnotatorSpec("llm", client, **more))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (("", "stop"), "empty"),
        (("<think>Let me see.</think>", "stop"), "empty"),
        (("<think>Let me", "length"), "truncated"),
        (("Certainly! Here is your card.", "stop"), "invalid_json"),
        (("", "content_filter"), "refused"),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_a_hopeless_model_is_left_within_twenty_calls(serve, said, kind, concurrency):
    server = serve(lambda body: said)
    with pytest.raises(InputError) as stopped:
        build_books(NOVEL, annotator(server, concurrency), mini_profile(None))
    assert server.calls <= 20
    assert "\n" not in str(stopped.value)
    assert "no usable answer" in str(stopped.value)
    assert kind in str(stopped.value)


def test_a_server_without_access_is_asked_no_more_than_the_calls_in_flight(serve):
    server = serve(lambda body: 401)
    with pytest.raises(InputError, match="the server refuses"):
        build_books(NOVEL, annotator(server), mini_profile(None))
    assert server.calls <= 8


def test_the_next_book_is_not_asked_for_at_all(serve):
    server = serve(lambda body: ("", "stop"))
    asked = annotator(server, stop_after=4)
    for _ in range(2):
        with pytest.raises(InputError, match="no usable answer in the last 4 calls"):
            build_books(NOVEL, asked, mini_profile(None))
    assert server.calls == 4


def test_thinking_that_leaves_no_answer_gets_twice_the_room_once(serve):
    """Half of the questions get an empty answer first; all are answered at twice their limit."""
    first = {}

    def said(body):
        key = json.dumps(body["messages"])
        if body["max_tokens"] <= first.setdefault(key, body["max_tokens"]) and len(key) % 2:
            return "<think>too long</think>", "stop"
        return honest(body)

    server = serve(said)
    books = build_books(NOVEL, annotator(server, samples=1), mini_profile(None))
    assert not any(kind == "empty" for book in books for kind in book.provenance["failures"].values())


def test_room_for_thinking_stands_beside_that_for_the_answer(serve):
    servers, limits = [serve(honest), serve(honest)], []
    for server, room in zip(servers, (0, 1_000), strict=True):
        build_books(NOVEL, annotator(server, samples=1, thinking_tokens=room, context_tokens=8_192), mini_profile(None))
        limits.append(min(body["max_tokens"] for body in server.requests))
    assert limits[1] == limits[0] + 1_000


def test_thinking_that_leaves_no_window_is_refused():
    with pytest.raises(InputError, match="thinking_tokens"):
        AnnotatorSpec("llm", ClientSpec("openai", "toy"), thinking_tokens=6_000, context_tokens=8_192)
