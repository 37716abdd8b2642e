"""What a writer asks for inside each stage: one generator per stage; the sampled text is sent back to each request.

The generators are replayed over the text of an unfinished stage (``steps.py``), so resuming and writing are the same
code. Any samples from the requested grammars make a stage that strict mode accepts: literals (names, counts, vectors,
numbers) are prefilled, and choices that could break a later rule are not offered.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from polaris_jax.trajectory import phrases, stages
from polaris_jax.trajectory.grammar import Grammar, Literal, Seq, optional, seq
from polaris_jax.trajectory.profile import Profile
from polaris_jax.trajectory.stage_text import Card, arc_head, card_lines, text_head
from polaris_jax.trajectory.tree import Tree
from polaris_jax.trajectory.words import LEGAL_COUNTS

BREAK = "\n\n"
SCENE_SUM_TOLERANCE = 25  # percent: scene counts add up to the chapter's count within this (G3)


def nothing_wrong(text: str) -> tuple[str, ...]:
    """The default for ``StageRequest.complaints``: accepts every sampled text."""
    return ()


@dataclass(frozen=True)
class StageRequest:
    """One piece of a stage: what to prefill, what to sample, and how it ends.

    Attributes:
      name: ``role/part`` for logs.
      prefill: literal text before the sample.
      grammar: grammar of the sampled text.
      temperature, top_k: sampling settings (trajectory specification 5.1).
      ends_stage: the stage ends after this sample, unless the sample ends with ``continues``.
      continues: see above; empty when the end does not depend on the sample.
      target_words: rounded word count of a prose request, else 0.
      complaints: checks rules that no grammar can express; returns one line per complaint.
    """

    name: str
    prefill: str
    grammar: Grammar
    temperature: float
    top_k: int | None = None
    ends_stage: bool = False
    continues: str = ""
    target_words: int = 0
    complaints: Callable[[str], tuple[str, ...]] = nothing_wrong


StageRequests = Generator[StageRequest, str, None]
# (index of the arc, samples of the arcs before it) -> (prefilled text after the arc's head, grammar)
ArcBodies = Callable[[int, list[str]], tuple[str, Grammar]]


def book_preview(profile: Profile) -> StageRequests:
    yield StageRequest("book_preview", f"{stages.HIGHLIGHT}\n", phrases.preview(profile), 0.8, 20, ends_stage=True)


def _foundation(
    profile: Profile, arcs_header: str, temperature: float, last: bool
) -> Generator[StageRequest, str, str]:
    """World rules, (short) arcs, archetypes and style; returns the sampled arcs."""
    ask = lambda part, prefill, *grammar, **end: StageRequest(  # noqa: E731
        f"book_plan/{part}", prefill, seq(*grammar), temperature, **end
    )
    yield ask(
        "world_rules", f"{stages.RULES}\n", phrases.bullets_from(profile.outline.rules, profile.rules, profile), BREAK
    )
    arcs = yield ask("arcs", f"{arcs_header}\n", phrases.short_arcs(profile), f"{BREAK}{stages.ARCHETYPES}\n")
    archetypes = phrases.described("###", profile.archetypes, profile.archetype_bullets, profile)
    yield ask("archetypes", "", archetypes, f"{BREAK}{stages.STYLE}\n")
    style = phrases.bullets_from(profile.outline.style, profile.style, profile)
    yield ask("style", "", *((style,) if last else (style, BREAK)), ends_stage=last)
    return arcs


def book_plan(profile: Profile) -> StageRequests:
    """The 14B plan: foundation, then six sections arc by arc."""
    arcs = yield from _foundation(profile, stages.SHORT, 0.45, last=False)
    tree = phrases.short_arcs(profile).parse(arcs.removesuffix(f"{BREAK}{stages.ARCHETYPES}\n"))
    assert isinstance(tree, Tree), "the arcs were sampled from this very grammar"
    titles = tree.texts("arc_title")

    def per_arc(
        section: str, bodies: ArcBodies, temperature: float = 0.45, **more: Any
    ) -> Generator[StageRequest, str, list[str]]:
        """Requests for one section, arc by arc."""
        samples: list[str] = []
        for index, title in enumerate(titles):
            extra, grammar = bodies(index, samples)
            prefill = f"{section}\n" * (index == 0) + f"{arc_head(index + 1, title)}\n{extra}"
            last = section == stages.COUNTS and index == len(titles) - 1
            name = f"book_plan/{stages.part_name(section)}/{index + 1}"
            full = grammar if last else seq(grammar, BREAK)
            sampled = yield StageRequest(name, prefill, full, temperature, ends_stage=last, **more)
            samples.append(sampled.removesuffix(BREAK))
        return samples

    for section, bounds in ((stages.MEDIUM, profile.medium), (stages.LONG, profile.long)):
        notes = phrases.bullets(bounds, profile)
        yield from per_arc(section, partial(_nothing_more, notes))

    def how_many(index: int, samples: list[str]) -> tuple[str, Grammar]:
        done, further = sum(map(int, samples)), len(titles) - index - 1
        low = max(1, profile.chapters[0] - done - 99 * further)
        high = max(1, min(99, profile.chapters[1] - done - further))
        low = min(low, high)  # a person may have written more arcs than the profile allows
        return "* ", phrases.number_up_to("chapter_count", range(low, high + 1))

    sizes = [int(size) for size in (yield from per_arc(stages.NUMBERS, how_many))]
    names: list[list[str]] = []

    def unique(text: str) -> tuple[str, ...]:
        known = [name for arc in names for name in arc]
        return tuple(f"chapter name {name!r} is used twice" for name in _twice(known + _names(text)))

    def name_lists(index: int, samples: list[str]) -> tuple[str, Grammar]:
        names[:] = [_names(sample) for sample in samples]
        return "", phrases.chapter_names(sum(sizes[:index]), sizes[index], profile)

    samples = yield from per_arc(stages.NAMES, name_lists, 0.8, complaints=unique)
    names[:] = [_names(sample) for sample in samples]

    def values(item: Callable[[str], Grammar]) -> ArcBodies:
        """A value line per chapter under its literal head; the first head is prefilled."""

        def body(index: int, samples: list[str]) -> tuple[str, Grammar]:
            first, *others = names[index]
            further = [part for name in others for part in (Literal(f"\n#### {name}\n"), item(name))]
            return f"#### {first}\n", Seq((item(first), *further))

        return body

    def count(name: str) -> Grammar:
        wanted = profile.outline.chapter(name).word_count
        return phrases.number_up_to("count", (wanted,) if wanted else profile.counts)

    yield from per_arc(stages.VECTORS, values(lambda name: phrases.vector()))
    yield from per_arc(stages.COUNTS, values(count))


def _nothing_more(grammar: Grammar, index: int, samples: list[str]) -> tuple[str, Grammar]:
    """The same grammar for every arc, with nothing prefilled after its head."""
    return "", grammar


def book_plan_24b(profile: Profile) -> StageRequests:
    """The first-chapter plan: preview, then a foundation with one arc resolution."""
    grammar = seq(phrases.preview(profile), BREAK)
    yield StageRequest("book_plan/preview", f"{stages.HIGHLIGHT}\n", grammar, 0.8, 20)
    yield from _foundation(profile, stages.ARCS, 0.2, last=True)


def first_chapter_plan(profile: Profile, chapter: Card) -> StageRequests:
    """Chapter 1 bound to the plan's name, count and vector, then its scenes."""
    yield _card("first_chapter_plan", chapter, profile, BREAK)
    yield from _scenes("first_chapter_plan", f"{stages.SCENES}\n", chapter.word_count, profile, 0.6)


def first_chapter_plan_24b(profile: Profile) -> StageRequests:
    """One free chapter card."""
    name = phrases.line("chapter_name", profile.name_chars, profile.scripts, not_first="#")
    grammar = seq(
        name,
        "\n**Word Count:** ",
        phrases.number_up_to("count", profile.counts),
        "\n**Embedding Space:** ",
        phrases.vector(),
        "\n**Narrative Focuses:** ",
        phrases.card_body(profile),
    )
    yield StageRequest("first_chapter_plan", "### ", grammar, 0.6, ends_stage=True)


def later_cards(profile: Profile, chapters: Sequence[Card]) -> StageRequests:
    """Cards of all chapters but the first."""
    for chapter in chapters[1:]:
        yield _card("full_book_chapters_plan", chapter, profile, "" if chapter is chapters[-1] else BREAK)


def characters(profile: Profile) -> StageRequests:
    """Main, then side characters."""
    groups = (profile.outline.characters, profile.outline.side)
    main, side = (phrases.people(given, profile.characters, profile.character_bullets, profile) for given in groups)
    main = seq(main, f"{BREAK}{stages.SIDE}\n")
    yield StageRequest("book_characters_list/main", f"{stages.MAIN}\n", main, 0.45)
    yield StageRequest("book_characters_list/side", "", side, 0.45, ends_stage=True)


def scene_breakdown(role: str, profile: Profile, chapter: Card) -> StageRequests:
    """Scenes of one chapter."""
    temperature = 0.2 if role == "first_chapter_scene_breakdown" else 0.45
    yield from _scenes(role, f"### {chapter.name}\n", chapter.word_count, profile, temperature)


def chapter_text(role: str, profile: Profile, chapter: Card) -> StageRequests:
    """Prose of one chapter; it begins with what a person has written of it."""
    given, head = profile.outline.chapter(chapter.name), text_head(chapter.name)
    if given.text and given.finished:
        yield StageRequest(role, head, Literal(f"{given.text}\n{stages.FENCE}"), 0.2, ends_stage=True)
        return
    if given.text:
        grammar = seq(f"{given.text}{BREAK}", phrases.prose(profile.scripts))
        yield StageRequest(role, head, grammar, 0.2, ends_stage=True, target_words=chapter.word_count)
        return
    yield StageRequest(
        role, head, phrases.prose(profile.scripts), 0.2, ends_stage=True, target_words=chapter.word_count
    )


def _card(role: str, chapter: Card, profile: Profile, tail: str) -> StageRequest:
    prefill = f"{card_lines(chapter.name, chapter.word_count, chapter.vector)}\n**Narrative Focuses:** "
    body = phrases.card_body(profile, profile.outline.chapter(chapter.name).beats)
    return StageRequest(f"{role}/card", prefill, seq(body, tail) if tail else body, 0.6, ends_stage=not tail)


def _scenes(role: str, opening: str, chapter_count: int, profile: Profile, temperature: float) -> StageRequests:
    """Numbered scenes whose counts always add up to the chapter's count within the tolerance.

    A scene's count is offered only if the sum stays below the upper limit. The stage can end only when the sum has
    reached the lower limit. The last scene allowed must reach it.
    """
    low, high = chapter_count * (100 - SCENE_SUM_TOLERANCE), chapter_count * (100 + SCENE_SUM_TOLERANCE)
    fewest, most = profile.scenes
    total = 0
    for number in range(1, most + 1):
        legal = [
            value
            for value in LEGAL_COUNTS
            if 100 * (total + value) <= high - (fewest - number) * 1_000 * (number < fewest)
            and (number < most or 100 * (total + value) >= low)
        ]
        prefill = f"{opening * (number == 1)}#### Scene {number}: "
        chosen = yield StageRequest(
            f"{role}/scene/{number}", prefill, phrases.scene_opening(legal, profile), temperature
        )
        total += int(chosen.rstrip("\n").rsplit(" ", 1)[1])
        may_end = 100 * total >= low and number >= fewest
        may_go_on = number < most and 100 * (total + LEGAL_COUNTS[0]) <= high
        body = phrases.scene_body(profile)
        grammar = seq(body, optional(BREAK) if may_end else BREAK) if may_go_on else body
        text = yield StageRequest(
            f"{role}/scene/{number}/body",
            "**Embedding Space:** ",
            grammar,
            temperature,
            ends_stage=may_end,
            continues=BREAK if may_go_on else "",
        )
        if not text.endswith(BREAK):
            return


def _names(text: str) -> list[str]:
    return [line[2:] for line in text.removesuffix(BREAK).split("\n")]


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
