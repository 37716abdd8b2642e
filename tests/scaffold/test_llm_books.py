"""Scenes, arcs, vectors, prompts and whole books as a model plans them; runs that stop and go on."""

import pickle
import random
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from scripted import Scripted, novel_of, sound, words_of

from polaris_jax.errors import InputError
from polaris_jax.library.scenes import split_scenes
from polaris_jax.llm import BudgetSpent, CallFailed, ClientSpec
from polaris_jax.scaffold import (
    FULL,
    STORY,
    AnnotatorSpec,
    LLMAnnotator,
    OfflineAnnotator,
    build_books,
    fallback_share,
    mini_profile,
    open_annotator,
)
from polaris_jax.scaffold.annotator import LENGTHS
from polaris_jax.scaffold.field_paths import field_paths
from polaris_jax.scaffold.llm.pitch import sample_attributes
from polaris_jax.scaffold.llm.scenes import combined, explicit_openings
from polaris_jax.scaffold.shrink import shrink, thin
from polaris_jax.trajectory import Vector, check, render

LONG = words_of("Mary", "mill", 1400)
NOVEL = novel_of(LONG, words_of("Thomas", "harbour", 700), words_of("Ann", "chapel", 500), words_of("Ben", "inn", 400))


def build(rule=lambda request: None, novel=NOVEL, profile=FULL, client=None, **options):
    client = client or Scripted(rule)
    books = build_books(novel, LLMAnnotator(client, **options), profile)
    for book in books:
        assert check(render(book), "corpus").ok, check(render(book), "corpus").violations[:3]
        for chapter in book.chapters:
            assert "".join(scene.text for scene in chapter.scenes) == chapter.text
    return books, client


def openings(*numbers):
    def rule(request):
        if request.purpose.startswith("scene boundaries") and "Mary" in request.messages[1][1]:
            return {"openings": list(numbers)}
        return None

    return rule


def starts_of(chapter):
    """Paragraph numbers, from 1, that open the chapter's scenes."""
    starts, seen = [], 0
    for scene in chapter.scenes:
        starts.append(chapter.text[:seen].count("\n\n") + 1)
        seen += len(scene.text)
    return starts


def test_scenes_open_at_the_paragraphs_the_model_names():
    (book,), _ = build(openings(1, 9, 20))
    assert starts_of(book.chapters[0]) == [1, 9, 20]


def test_the_authors_own_breaks_stay_whatever_the_model_says():
    novel = replace(NOVEL, chapters=(novel_of(LONG, breaks={0: [15]}).chapters[0], *NOVEL.chapters[1:]))
    (book,), _ = build(openings(9), novel)
    assert starts_of(book.chapters[0]) == [1, 9, 16]


def test_explicit_breaks_are_told_from_the_librarys_own_cuts():
    paragraphs = LONG.split("\n\n") + words_of("Thomas", "harbour", 1400).split("\n\n")
    opens = [number == 20 for number in range(len(paragraphs))]
    text = "\n\n".join(paragraphs)
    scenes = split_scenes(paragraphs, opens)
    cohesion = split_scenes(paragraphs, [False] * len(paragraphs))
    assert len(scenes) > 2
    assert len(cohesion) > 1

    def found(parts):
        chapter = replace(NOVEL.chapters[0], text=text, scenes=parts)
        return set(explicit_openings(replace(NOVEL, chapters=(chapter,))))

    assert any(paragraphs[20].startswith(opening) for opening in found(scenes))
    assert found(cohesion) == {" ".join(text.split())[:100]}


def test_wrong_numbers_are_sent_back_twice_and_then_the_librarys_scenes_stand():
    (book,), client = build(openings(9, 9))
    assert client.purposes["scene boundaries"] == 4
    assert client.purposes["scene boundaries, repair"] == 2
    assert book.provenance["failures"] == {"chapters/0/scenes": "invalid", "arcs": "invalid"}
    assert starts_of(book.chapters[0]) == [1]
    assert "increase strictly" in next(r for r in client.asked if r.purpose.endswith("repair")).messages[-1][1]


def test_long_chapters_are_numbered_in_windows_that_overlap():
    seen, text = [], words_of("Mary", "mill", 3500)

    def rule(request):
        if request.purpose == "scene boundaries" and "Mary" in request.messages[1][1]:
            numbers = [int(n) for n in re.findall(r"(?m)^\[(\d+)\]", request.messages[1][1])]
            seen.append(numbers)
            return {"openings": [n for n in (9, 20, 30) if n in numbers]}
        return None

    novel = replace(NOVEL, chapters=(novel_of(text).chapters[0], *NOVEL.chapters[1:]))
    (book,), _ = build(rule, novel, context_tokens=3072)
    assert len(seen) > 1
    for before, after in pairwise(seen):
        assert after[0] == before[-1] - 4
    assert seen[0][0] == 1
    assert seen[-1][-1] == text.count("\n\n") + 1
    assert starts_of(book.chapters[0]) == [1, 9, 20, 30]


def vector(value, **others):
    return Vector(**{name: others.get(name, value) for name in Vector.__dataclass_fields__})


def test_vectors_are_means_of_samples_medians_when_they_disagree_and_nothing_below_ten():
    samples = [vector(20, action=10, dialog=6), vector(21, action=12, dialog=9), vector(21, action=90, dialog=12)]
    assert combined([samples], [100]) == vector(21, action=12, dialog=0)
    assert combined([[vector(10)], [vector(40)]], [100, 200]) == vector(30)


def test_samples_are_drawn_apart_and_one_that_fails_is_left_out():
    def rule(request):
        if request.purpose != "embedding":
            return None
        if request.sample == 2:
            return CallFailed("timeout", 1, "nothing")
        return {"scores": dict.fromkeys(Vector.__dataclass_fields__, (30, 40, 0, 50)[request.sample])}

    (book,), client = build(rule, samples=4)
    drawn = [request for request in client.asked if request.purpose == "embedding"]
    assert {request.sample for request in drawn} == {0, 1, 2, 3}
    assert {request.temperature for request in drawn} == {0.7}
    assert book.chapters[0].scenes[0].vector == vector(40)
    assert not [path for path in book.provenance["fallback"] if path.endswith("vector")]


@pytest.mark.parametrize(("said", "chapters"), [([1, 3], [2, 2]), ([3], [2, 2]), ([1, 2], [1, 3])])
def test_arcs_open_at_the_chapters_the_model_names(said, chapters):
    (book,), _ = build(lambda r: {"openings": said} if r.purpose == "arcs" else None)
    assert [len(arc.chapter_names) for arc in book.arcs] == chapters
    assert book.provenance["fallback"] == ()


def test_two_arcs_never_bear_the_same_title():
    def rule(request):
        if request.purpose == "arcs":
            return {"openings": [1, 3]}
        return sound(request) | {"title": "The same again"} if request.purpose == "short arc" else None

    (book,), _ = build(rule)
    assert book.arcs[0].title == "The same again" != book.arcs[1].title
    assert book.provenance["failures"] == {"arcs/1/title": "repeated"}


def test_prompts_are_drawn_as_specified():
    facts = [f"Fact number {i}." for i in range(10)]
    drawn = sample_attributes(random.Random(1), facts, 60_000, 20, 600, count=4000)
    for index, (part, _, _, most) in enumerate(LENGTHS):
        here = [one for one in drawn if one.size == index]
        assert abs(len(here) / len(drawn) - part) < 0.03
        assert max(len(one.facts) for one in here) == most <= 8
    assert sum(one.titled for one in drawn) / len(drawn) < 0.22
    assert all(54_000 <= one.words <= 66_000 and 18 <= one.chapters <= 22 for one in drawn)
    assert all(isinstance(one.words, int) for one in drawn)  # the request says "about 60100 words", not "60100.0"
    assert {one.register for one in drawn} == {"neutral", "casual", "formal", "urgent"}
    assert {one.size for one in sample_attributes(random.Random(1), facts, 900, 3, 60, count=200)} == {0, 1}


def test_a_prompt_that_names_the_title_unasked_is_sent_back():
    def rule(request):
        if request.purpose == "prompt" and "Do not mention the title" in request.messages[1][1]:
            return {"prompt": sound(request)["prompt"] + " The Grey Ladder"}
        return None

    (book,), client = build(rule)
    assert (
        client.purposes["prompt, repair"]
        == sum("Do not mention the title" in r.messages[1][1] for r in client.asked if r.purpose == "prompt")
        > 0
    )
    assert "Grey Ladder" not in book.prompt


@pytest.mark.parametrize(("profile", "form", "length"), [(FULL, "novel", True), (STORY, "story", False)])
def test_a_request_asks_for_a_novel_or_for_a_story_of_no_stated_length(profile, form, length):
    _, client = build(profile=profile)
    asked = ["\n".join(text for _, text in one.messages) for one in client.asked if one.purpose == "prompt"]
    assert len(asked) == 4
    assert all(f"write a {form} and describes it" in one for one in asked)
    assert any(re.search(r"Mention: .*(?:a length of about|chapters)", one) for one in asked) is length


def test_every_fallback_path_is_a_field_and_none_is_counted_twice():
    def rule(request):
        return CallFailed("timeout", 1, "nothing") if int(request.key(""), 16) % 3 == 0 else None

    (book,), _ = build(rule)
    paths = list(field_paths(book.chapters, book.arcs, 4))
    assert len(paths) == len(set(paths)) == book.provenance["fields"]
    assert set(book.provenance["fallback"]) <= set(paths)
    assert 0 < fallback_share(book) < 1


def test_a_second_run_asks_nothing_and_writes_the_same_bytes():
    (first,), client = build()
    asked = len(client.asked)
    (again,), _ = build(client=client)
    assert len(client.asked) == asked
    assert render(first) == render(again)
    assert first.provenance == again.provenance


def test_a_run_that_was_stopped_goes_on_at_the_first_unanswered_question():
    (whole,), unhurried = build()
    total = len(unhurried.asked)
    client = Scripted(allowed=0, stop=BudgetSpent("tokens", 1, 1, 1))
    for step in (1, 7, 11, 13, total):
        client.allowed = step
        if len(client.asked) + step < total:
            with pytest.raises(BudgetSpent):
                build(client=client)
        else:
            (book,), _ = build(client=client)
    assert len(client.asked) == total
    assert [r.key("") for r in client.asked] == [r.key("") for r in unhurried.asked]
    assert render(book) == render(whole)


def test_small_volumes_are_searched_offline_and_annotated_once_within_the_budget():
    profile = mini_profile(8_000)

    def talkative(request):
        if request.purpose in ("chapter card", "scene card", "long arc", "world rules"):
            said = sound(request)
            key = {"long arc": "long", "world rules": "world_rules"}.get(request.purpose, "summary")
            verbs = ("considers", "regrets", "defends", "repeats")
            return said | {key: [f"Somebody {verb} a strange choice once more here." for verb in verbs]}
        return None

    books, client = build(talkative, profile=profile, samples=1)
    assert all(len(render(book)) <= 8_000 for book in books)
    chapters = sum(len(book.chapters) for book in books)
    assert client.purposes["chapter card"] == chapters
    assert max(map(fallback_share, books)) < 1
    assert [book.provenance["volume"] for book in books] == list(range(1, len(books) + 1))


def test_a_plan_that_is_too_long_loses_bullets_and_only_then_gives_way_to_the_offline_one():
    (book,), _ = build(profile=mini_profile(None))
    (spare,) = build_books(NOVEL, OfflineAnnotator(), mini_profile(None))
    book = replace(book, world_rules=tuple(f"Rule number {i} holds everywhere." for i in range(40)))
    size = len(render(book))
    shorter = shrink(book, spare, size - 800, len)
    assert len(render(shorter)) <= size - 800
    assert shorter.chapters == book.chapters
    assert 0 < len(shorter.world_rules) < 40
    assert shorter.provenance == book.provenance

    endless = replace(book, arcs=tuple(replace(arc, title="x" * 5_000) for arc in book.arcs))
    given_up = shrink(endless, spare, len(render(spare)), len)
    assert render(given_up) == render(spare)
    assert fallback_share(given_up) == 1
    assert set(given_up.provenance["failures"].values()) == {"budget"}


def test_a_thinned_list_keeps_its_beginning_and_its_end():
    assert thin(tuple("abcdefg"), 3) == ("a", "d", "g")
    assert thin(("a", "b"), 1) == ("a",)
    assert thin(("a", "b"), 5) == ("a", "b")


def test_a_whole_novel_over_its_budget_is_refused_before_the_model_is_asked():
    client = Scripted()
    with pytest.raises(InputError, match="does not fit whole"):
        build_books(NOVEL, LLMAnnotator(client), replace(FULL, budget=3_000))
    assert not client.asked


def test_progress_reaches_the_last_chapter():
    heard = []
    build_books(NOVEL, LLMAnnotator(Scripted()), FULL, progress=lambda done, total, name: heard.append((done, total)))
    assert heard[-1] == (4, 4)
    assert heard == sorted(heard)


def test_annotators_are_opened_by_a_spec_that_can_be_pickled(tmp_path):
    assert isinstance(open_annotator(AnnotatorSpec()), OfflineAnnotator)
    spec = AnnotatorSpec("llm", ClientSpec("replay", "openai/nobody", cache=str(tmp_path)), samples=2)
    annotator = open_annotator(pickle.loads(pickle.dumps(spec)))
    assert annotator.name == "openai/nobody"
    assert annotator.samples == 2
    annotator.close()


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "human"}, {"kind": "llm"}, {"samples": 0}, {"context_tokens": 512}, {"temperature": -1}],
)
def test_a_wrong_spec_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)) if wrong != {"kind": "llm"} else "client"):
        AnnotatorSpec(**wrong)
