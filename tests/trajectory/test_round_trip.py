"""A book survives being written as a transcript or as a LongPage record and read back."""

import json
from dataclasses import replace

import pytest
from books import books
from hypothesis import HealthCheck, Phase, given, settings

from polaris_jax.errors import InputError
from polaris_jax.trajectory import check, from_longpage, parse, render, to_longpage

# Shrinking a whole book takes minutes and teaches little, so examples are only generated.
quick = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)


@quick
@given(books())
def test_a_rendered_book_is_strict_valid_and_comes_back_equal(book):
    transcript = render(book)
    verdict = check(transcript, "strict")
    assert verdict.ok, [str(violation) for violation in verdict.violations]
    assert not verdict.truncated
    assert parse(transcript) == book
    assert render(parse(transcript)) == transcript


@quick
@given(books(chapters=(3, 4)))
def test_a_book_cut_after_a_chapter_is_valid_and_marked_truncated(book):
    cut = replace(book, chapters=(*book.chapters[:-1], replace(book.chapters[-1], scenes=(), text="")))
    transcript = render(cut)
    verdict = check(transcript, "strict")
    assert verdict.ok
    assert verdict.truncated
    assert render(book).startswith(transcript)
    assert parse(transcript) == cut


@quick
@given(books())
def test_the_first_chapter_family_round_trips_too(book):
    arcs = tuple(replace(arc, medium=(), long=(), chapter_names=()) for arc in book.arcs)
    second = replace(book.chapters[1], scenes=(), text="")
    small = replace(book, arcs=arcs, chapters=(book.chapters[0], second), main_characters=(), side_characters=())
    transcript = render(small)
    verdict = check(transcript, "strict")
    assert verdict.ok, [str(violation) for violation in verdict.violations]
    assert verdict.family == "first_chapter"
    assert parse(transcript) == small


@quick
@given(books())
def test_longpage_export_reads_back_through_json(book):
    assert from_longpage(json.loads(json.dumps(to_longpage(book)))) == book


def test_reserved_strings_never_enter_a_transcript(toy_book):
    with pytest.raises(InputError, match="reserved"):
        render(replace(toy_book, highlight="an end <|eot_id|> too early"))


def test_arcs_must_name_the_chapters(toy_book):
    arcs = (replace(toy_book.arcs[0], chapter_names=("Another",)), *toy_book.arcs[1:])
    with pytest.raises(InputError, match=r"book\.arcs"):
        render(replace(toy_book, arcs=arcs))


def test_scene_spans_keep_the_prose_of_scenes(toy_book):
    first = toy_book.chapters[0]
    scenes = (replace(first.scenes[0], text="A lamp.\n\n"), replace(first.scenes[0], text="A door."))
    first = replace(first, scenes=scenes, text="A lamp.\n\nA door.")
    book = replace(toy_book, chapters=(first, *toy_book.chapters[1:]))
    assert from_longpage(to_longpage(book)) == book


def test_a_published_record_becomes_a_first_chapter_trajectory(toy_book):
    record = to_longpage(toy_book)
    for key in ("arcs", "provenance"):
        del record[key]
    for chapter in record["book_chapters"].values():
        for key in ("narrative_focuses", "word_count", "word_count_raw"):
            del chapter[key]
    verdict = check(render(from_longpage(record)), "strict")
    assert verdict.ok
    assert verdict.family == "first_chapter"


def test_the_simplified_shape_with_plain_strings_is_understood(toy_book):
    record = to_longpage(toy_book)
    del record["arcs"]
    record["story_arcs"] = ["The Debt: A clerk borrows time.", "The Reckoning: The sea collects."]
    record["character_archetypes"] = "The Clerk: exact and evasive.\nThe Debtor: charming."
    record["book_characters"] = ["Pell: computes the tides."]
    book = from_longpage(record)
    assert [(arc.title, arc.short) for arc in book.arcs] == [
        ("The Debt", ("A clerk borrows time.",)),
        ("The Reckoning", ("The sea collects.",)),
    ]
    assert [thing.name for thing in book.character_archetypes] == ["The Clerk", "The Debtor"]
    assert book.main_characters[0].bullets == ("computes the tides.",)
    assert check(render(book), "strict").ok


def test_a_missing_key_is_named(toy_book):
    record = to_longpage(toy_book)
    del record["book_highlight"]
    with pytest.raises(InputError, match=r"record\.book_highlight"):
        from_longpage(record)
