"""A person's outline stands in the plan as it was written; the model fills in the rest."""

import random
from dataclasses import replace

import pytest

from polaris_jax.errors import InputError
from polaris_jax.trajectory import FIRST_CHAPTER, check, mini_profile, next_step, open_transcript, read_outline
from polaris_jax.trajectory.draft import read_draft
from polaris_jax.trajectory.outline import Person
from polaris_jax.trajectory.transcript import find_stage

SOURCE = """# The Tide Book
A keeper of a lighthouse hides a **forged** ledger.

## Characters
- Mara: keeps the light, counts everything
- Old Tom

## Side characters
- The Inspector — smells of coal

## Style
* short sentences, no adverbs

## Chapters
### Chapter 1: The Lamp (about 1,230 words)
1. Mara finds the ledger
2. She burns a page
### The Storm
- the boat does not come back
### Low Water
"""


def written(outline, rng, **bounds):
    """A book sampled from the grammar alone."""
    profile = mini_profile(2048, arcs=(1, 2), chapter_words=(50, 60), **bounds)
    profile = replace(profile, outline=outline)
    transcript = open_transcript(outline.premise or "A book.")
    while (step := next_step(transcript, profile)) is not None:
        texts = (step.grammar.sample(rng) for _ in range(99))
        transcript = step.apply(transcript, next(text for text in texts if not step.accept(text)))
    return transcript


def test_the_parts_of_an_outline_are_read():
    outline = read_outline(SOURCE)
    assert (outline.title, outline.premise) == ("The Tide Book", "A keeper of a lighthouse hides a forged ledger.")
    assert outline.characters == (Person("Mara", ("keeps the light, counts everything",)), Person("Old Tom"))
    assert outline.side == (Person("The Inspector", ("smells of coal",)),)
    assert outline.style == ("short sentences, no adverbs",)
    assert [(one.name, one.beats, one.word_count) for one in outline.chapters] == [
        ("The Lamp", ("Mara finds the ledger", "She burns a page"), 1200),
        ("The Storm", ("the boat does not come back",), 0),
        ("Low Water", (), 0),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_book_of_an_outline_is_strictly_valid_and_says_what_the_outline_says(seed):
    transcript = written(read_outline(SOURCE), random.Random(seed), chapters=(3, 3))
    assert check(transcript, "strict").ok, check(transcript, "strict").violations[:2]
    assert "\n## Book Title\nThe Tide Book\n" in find_stage(transcript, "book_preview").text
    plan = find_stage(transcript, "book_plan").text
    assert [line for line in plan.split("\n") if line in ("- The Lamp", "- The Storm", "- Low Water")] == [
        "- The Lamp",
        "- The Storm",
        "- Low Water",
    ]
    assert "#### The Lamp\n1200" in plan
    assert "## Writing Style\n- short sentences, no adverbs" in plan
    card = find_stage(transcript, "first_chapter_plan").text
    assert "**Chapter Summary:**\n- Mara finds the ledger\n- She burns a page\n" in card
    people = find_stage(transcript, "book_characters_list").text
    assert "#### Mara\n- keeps the light, counts everything\n" in people
    assert people.index("#### Old Tom") < people.index("### Side Characters") < people.index("#### The Inspector")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("# A\n## One\n## One\n", "two chapters"),
        ("# A\n## Chapters\nstray\n## One\n", "line 3.*under no chapter"),
        (f"# A\n## {'x' * 121}\n", "line 2.*121 characters"),
        (f"# A\n## One\n- {'x' * 301}\n", "line 3.*301 characters"),
        ("# A\n## One\n- a <b>\n", "line 3.*'<'"),
        (f"# {'word ' * 9}\n", "line 1.*1 to 8 words"),
        ("# A\n## One (250000 words)\n", "line 2.*99500"),
        ("# A\n## Style\n" + "- x\n" * 41, "41 entries"),
    ],
)
def test_what_cannot_stand_in_a_plan_is_refused_with_its_line(source, told):
    with pytest.raises(InputError, match=told):
        read_outline(source)


def test_an_outline_needs_a_profile_with_room_for_it():
    outline = read_outline(SOURCE)
    with pytest.raises(InputError, match="more than the 2"):
        replace(mini_profile(2048, chapters=(2, 2)), outline=outline)
    with pytest.raises(InputError, match="whole book"):
        replace(FIRST_CHAPTER, outline=outline)


DRAFT = """# My Book

## The Lamp

Mara lit the lamp. It was
cold.

She waited.

## Storm

The wind rose and"""


def test_a_draft_is_read_as_chapters_and_goes_on_where_it_stopped():
    outline = read_draft(DRAFT)
    assert outline.title == "My Book"
    first, last = outline.chapters
    assert (first.name, first.text, first.finished) == (
        "The Lamp",
        "Mara lit the lamp. It was cold.\n\nShe waited.",
        True,
    )
    assert first.beats == ("Mara lit the lamp.", "She waited.")
    assert (last.name, last.text, last.finished) == ("Storm", "The wind rose and", False)
    transcript = written(outline, random.Random(1), chapters=(2, 3))
    assert check(transcript, "strict").ok, check(transcript, "strict").violations[:2]
    assert find_stage(transcript, "first_chapter_text").text == f"### The Lamp\n```\n{first.text}\n```"
    assert find_stage(transcript, "chapter_text").text.startswith("### Storm\n```\nThe wind rose and\n\n")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Chapter 1\n\nHe ran.\n\nChapter 2: Later\n\nIt rained.", ["Chapter 1", "Chapter 2: Later"]),
        ("Just prose. Chapter after chapter it went on.", ["Chapter 1"]),
        ("第一章 灯塔\n\n他走了。\n\n第二章\n\n她来了。", ["第一章 灯塔", "第二章"]),
        ("PROLOGUE\nHe ran.\r\n\r\nEpilogue\n\nDone.", ["PROLOGUE", "Epilogue"]),
    ],
)
def test_headings_of_plain_text(text, names):
    assert [chapter.name for chapter in read_draft(text).chapters] == names


def test_a_title_page_is_no_chapter_and_what_it_says_is_told():
    told = []
    outline = read_draft(
        "THE TIDE\nA Novel\n\nby Ann Wren\n\nChapter 1\n\nHe ran\nfast.\n\nChapter 2\n\nRain.", told.append
    )
    assert outline.title == "THE TIDE"
    assert [(chapter.name, chapter.text) for chapter in outline.chapters] == [
        ("Chapter 1", "He ran fast."),
        ("Chapter 2", "Rain."),
    ]
    assert told == ["left out of the manuscript, as its title page: A Novel; by Ann Wren"]
    begun = read_draft("It was night. He ran.\n\nPart Two\n\nRain.")  # prose without a heading is a chapter
    assert [chapter.text for chapter in begun.chapters] == ["It was night. He ran.", "Rain."]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no text"),
        ("# A\n\ntext.\n\n# A\n\nmore.", "two chapters"),
        ("## A\n\n<|eot_id|>", "reserved"),
        (f"# {'long ' * 9}\n\n## A\n\ntext.", "1 to 8 words"),
    ],
)
def test_a_draft_without_prose_or_with_doubled_names_is_refused(text, told):
    with pytest.raises(InputError, match=told):
        read_draft(text)


def test_headings_that_are_underlined_are_headings():
    outline = read_outline("The Tide\n===\n\nA keeper waits.\n---\n\nOne\n---\n- He ran.\n\nTwo (500 words)\n-----\n")
    assert (outline.title, outline.premise) == ("The Tide", "A keeper waits.")
    assert [(chapter.name, chapter.beats, chapter.word_count) for chapter in outline.chapters] == [
        ("One", ("He ran.",), 0),
        ("Two", (), 500),
    ]
    draft = read_draft("The Tide\n===\n\nOne\n---\n\nHe ran.\n\n---\n\nShe sat.\n")
    assert draft.title == "The Tide"
    assert [(chapter.name, chapter.text) for chapter in draft.chapters] == [("One", "He ran.\n\n---\n\nShe sat.")]


@pytest.mark.parametrize("read", [read_outline, read_draft])
def test_front_matter_is_refused_and_a_rule_is_not(read):
    with pytest.raises(InputError, match="line 1='---': front matter is not read"):
        read("---\ntitle: The Tide\ntags: [sea]\n---\n\n# One\n\nHe ran.\n")
    assert read("---\n\n# One\n\nHe ran.\n\n## Two\n\nShe sat.\n").chapters[-1].name == "Two"
