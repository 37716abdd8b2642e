"""Scene and chapter cards by a model with a long context: the book is sent as one growing text.

A book is cut into as few sections as the window allows, usually one. For every section, a first question shows all of
its prose and asks where scenes begin. Then a few questions ask for the cards of many scenes and chapters each, and show
the section up to them. What a question shows is the beginning of what the next one shows, so a provider with a prompt
cache reads a section once. No question shows an earlier answer, so a stopped build finds all of its answers in the
cache, whatever has failed.

A question without an answer (a refusal, an answer cut short) is asked again chapter by chapter, about each chapter's
text alone: a passage that a filter rejects then costs only its own cards.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from polaris_jax.scaffold.annotator import Progress
from polaris_jax.scaffold.llm import fields, prompts
from polaris_jax.scaffold.llm.cards import ScenePlace, settled_chapter, settled_scene
from polaris_jax.scaffold.llm.context_budget import tokens
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker, text_words
from polaris_jax.scaffold.llm.question import AnnotationQuestion, InvalidField, QuestionField
from polaris_jax.scaffold.llm.scenes import (
    combined,
    cut_scenes,
    is_divisible,
    most_scenes,
    paragraphs_of,
    scene_openings,
)
from polaris_jax.scaffold.llm.session import AnnotationSession, Answer
from polaris_jax.scaffold.profile import Bound, share
from polaris_jax.trajectory import DIMENSIONS, Chapter, Scene, Vector, count_words

LONG_CONTEXT = 32_768  # tokens: with this window or a larger one, books are sent whole
_MOST_ANSWER = 16_384  # tokens that the models of all providers can write in one answer
_QUESTION = 6_000  # tokens for an instruction with its schema and corrections
_NOTES = 24_000  # tokens for the cards that are sent with the whole book
_SCENE_FIELDS = ("name", "readings", "focuses", "perspective", "summary")
_CHAPTER_FIELDS = ("focuses", "summary")


@dataclass(frozen=True)
class Section:
    """A run of chapters that one window holds.

    Attributes:
      first: index of its first chapter. head: the text before it. texts: its chapters, with numbered paragraphs.
    """

    first: int
    head: str
    texts: tuple[str, ...]

    def until(self, chapter: int) -> str:
        """The section up to and including ``chapter``, an index in the book."""
        return self.head + "\n\n".join(self.texts[: chapter - self.first + 1])

    @cached_property
    def whole(self) -> str:
        """The whole section."""
        return self.until(self.first + len(self.texts) - 1)


@dataclass(frozen=True)
class _Cards:
    """Fields of one scene's or chapter's card; a question asks for several such units."""

    chapter: int
    fields: tuple[QuestionField, ...]


def answer_room(session: AnnotationSession) -> int:
    """Most tokens of one answer."""
    return min(_MOST_ANSWER, session.context_tokens // 4)


def sections_of(session: AnnotationSession) -> list[Section] | None:
    """The book in the largest runs of chapters that fit the window; None if a chapter does not fit."""
    room = session.context_tokens - answer_room(session) - _QUESTION
    room -= tokens(prompts.text("system")) + tokens(prompts.guide())
    if session.context_tokens < LONG_CONTEXT:
        return None
    found: list[Section] = []
    used = 0
    for number, draft in enumerate(session.task.parts):
        text = _numbered(number + 1, draft.name, draft.text)
        size = tokens(text) + 2
        if not found or used + size > room:
            head = _people_before(session, number)
            found.append(Section(number, head, ()))
            used = tokens(head)
        if used + size > room:
            return None
        found[-1] = replace(found[-1], texts=(*found[-1].texts, text))
        used += size
    return found


def _numbered(number: int, name: str, text: str) -> str:
    shown = [f"[{number}.{n}] {paragraph.strip()}" for n, paragraph in enumerate(paragraphs_of(text), 1)]
    return "\n\n".join([f"CHAPTER {number}: {name}", *shown])


def _people_before(session: AnnotationSession, chapter: int) -> str:
    """A line with the people named in the chapters before ``chapter``; empty if there are none."""
    earlier = "\n\n".join(draft.text for draft in session.task.parts[:chapter])
    counts = session.stats.mentioned(earlier) if earlier else {}
    people = sorted((e for e in counts if e.person), key=lambda e: (-counts[e], e.aliases))
    forms = [form for entity in people[:40] if (form := entity.form_in(earlier))]
    return f"NAMED IN THE CHAPTERS BEFORE: {', '.join(forms)}\n\n" if forms else ""


def book_cards(
    session: AnnotationSession, sections: Sequence[Section], progress: Progress | None = None
) -> tuple[Chapter, ...]:
    """Every chapter with its scenes."""
    parts = session.task.parts
    if len(sections) == 1 and tokens(sections[0].whole) + answer_room(session) + _NOTES <= session.context_tokens:
        session.book = sections[0].whole
    texts = _scenes(session, sections)
    words = list(accumulate((text_words(f"{draft.name} {draft.text}") for draft in parts), operator.or_))
    runs: list[list[_Cards]] = []
    for section in sections:
        units = [
            unit
            for number in range(section.first, section.first + len(section.texts))
            for unit in _chapter_units(
                session, number, texts[number], FaithfulnessChecker(session.stats, words[number])
            )
        ]
        runs += _runs(session, section, units)
    said = _ask(session, sections, runs)
    chapters = []
    for number, draft in enumerate(parts):
        written = tuple(_scene(session, number, index, text, said) for index, text in enumerate(texts[number]))
        card = {name: said[f"chapter {number + 1}/{name}"] for name in _CHAPTER_FIELDS}
        chapters.append(settled_chapter(session, number, card, written, _chapter_bound(session, number)))
        if progress:
            progress(number + 1, len(parts), draft.name)
    return tuple(chapters)


def _scenes(session: AnnotationSession, sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """The scenes of every chapter."""
    task, asked = prompts.text("book_boundaries"), []
    for section in sections:
        chosen = []
        for number in range(section.first, section.first + len(section.texts)):
            draft = session.task.parts[number]
            if is_divisible(draft) and most_scenes(session) > 1:
                shown = range(1, len(paragraphs_of(draft.text)) + 1)
                chosen.append(scene_openings(f"chapter {number + 1}", shown, draft.words))
        if chosen:
            asked.append(AnnotationQuestion("scene boundaries", task, tuple(chosen), book=section.whole))
    said: dict[str, Answer] = {}
    for answers in session.ask(asked):
        said |= answers
    return cut_scenes(session, [said.get(f"chapter {number + 1}") for number in range(len(session.task.parts))])


def _chapter_units(
    session: AnnotationSession, number: int, scenes: Sequence[str], checker: FaithfulnessChecker
) -> list[_Cards]:
    """The cards of a chapter's scenes, then the chapter's card."""
    detail, units, place = session.task.detail, [], 0
    for index, text in enumerate(scenes):
        key = f"scene {number + 1}.{index + 1}"
        where = _where(session.task.parts[number].text, number + 1, place, place + len(text))
        place += len(text)
        bound = share(count_words(text), detail.scene_words, detail.scene)
        units.append(
            _Cards(
                number,
                (
                    _quiet(fields.line(f"{key}/name", "", 7, checker, titled=True)),
                    _readings(f"{key}/readings", session.samples),
                    _quiet(fields.focuses(f"{key}/focuses", "", detail.focuses, checker)),
                    _quiet(fields.line(f"{key}/perspective", "", 14, checker)),
                    fields.bullets(f"{key}/summary", where, bound, checker),
                ),
            )
        )
    key, whole = f"chapter {number + 1}", f"the whole of chapter {number + 1}"
    focuses = _quiet(fields.focuses(f"{key}/focuses", "", detail.focuses + 1, checker))
    summary = fields.bullets(f"{key}/summary", whole, _chapter_bound(session, number), checker)
    return [*units, _Cards(number, (focuses, summary))]


def _chapter_bound(session: AnnotationSession, number: int) -> Bound:
    detail = session.task.detail
    return share(session.task.parts[number].words, detail.chapter_words, detail.chapter, least=2)


def _where(chapter: str, number: int, start: int, end: int) -> str:
    """The paragraph numbers of a scene; also its first words, if it begins inside a paragraph."""
    ends = list(accumulate(map(len, paragraphs_of(chapter))))
    first = next(n for n, stop in enumerate(ends, 1) if stop > start)
    last = next(n for n, stop in enumerate(ends, 1) if stop >= end)
    inside = start not in (0, *ends)
    opening = f", from the words “{' '.join(chapter[start:end].split()[:5])}” on" if inside else ""
    return f"paragraphs [{number}.{first}] to [{number}.{last}]{opening}"


def _quiet(field: QuestionField) -> QuestionField:
    """The field without its own line; the task describes it."""
    return replace(field, says="")


def _readings(key: str, samples: int) -> QuestionField:
    """The field for ``samples`` rows of the seven scores; its value is the vector combined from them."""

    def read(value: Any) -> Vector:
        if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == 7 for row in value):
            raise InvalidField(f"write {samples} rows of seven whole numbers")
        if len(value) < samples:
            raise InvalidField(f"write {samples} rows, {len(value)} are there")
        rows = [dict(zip(DIMENSIONS, row, strict=True)) for row in value[:samples]]
        return combined([[Vector(**{name: min(99, max(0, int(n))) for name, n in row.items()}) for row in rows]], [1])

    whole = {"type": "integer", "minimum": 0, "maximum": 99}
    row = {"type": "array", "minItems": len(DIMENSIONS), "maxItems": len(DIMENSIONS), "items": whole}
    return QuestionField(key, "", {"type": "array", "minItems": samples, "maxItems": samples, "items": row}, read)


def _question(session: AnnotationSession, units: Sequence[_Cards], book: str) -> AnnotationQuestion:
    task = prompts.text("cards").format(
        samples=session.samples, meanings=fields.MEANINGS, focuses=session.task.detail.focuses
    )
    return AnnotationQuestion("cards", task, tuple(field for unit in units for field in unit.fields), book=book)


def _runs(session: AnnotationSession, section: Section, units: Sequence[_Cards]) -> list[list[_Cards]]:
    """The units in runs that fit one answer; a chapter is divided only if it does not fit alone."""

    def fits(run: Sequence[_Cards]) -> bool:
        question = _question(session, run, "")
        size = tokens(question.instruction) + tokens(question.schema)
        return question.max_tokens <= answer_room(session) and size <= _QUESTION * 3 // 4

    runs: list[list[_Cards]] = []
    for number in range(section.first, section.first + len(section.texts)):
        chapter = [unit for unit in units if unit.chapter == number]
        if runs and fits([*runs[-1], *chapter]):
            runs[-1] += chapter
        elif fits(chapter):
            runs.append(chapter)
        else:
            runs.append([])
            for unit in chapter:
                if runs[-1] and not fits([*runs[-1], unit]):
                    runs.append([])
                runs[-1].append(unit)
    return runs


def _ask(session: AnnotationSession, sections: Sequence[Section], runs: Sequence[list[_Cards]]) -> dict[str, Answer]:
    """The answers by field key."""

    def section_of(run: Sequence[_Cards]) -> Section:
        return next(s for s in reversed(sections) if s.first <= run[0].chapter)

    said: dict[str, Answer] = {}
    asked = [_question(session, run, section_of(run).until(run[-1].chapter)) for run in runs]
    alone: list[AnnotationQuestion] = []
    for run, answers in zip(runs, session.ask(asked), strict=True):
        said |= answers
        if all(answer.value is None for answer in answers.values()):
            for number in sorted({unit.chapter for unit in run}):
                text = section_of(run).texts[number - section_of(run).first]
                alone.append(_question(session, [unit for unit in run if unit.chapter == number], text))
    for answers in session.ask(alone):
        said |= answers
    return said


def _scene(session: AnnotationSession, number: int, index: int, text: str, said: dict[str, Answer]) -> Scene:
    key = f"scene {number + 1}.{index + 1}"
    card = {name: said[f"{key}/{name}"] for name in _SCENE_FIELDS}
    return settled_scene(session, ScenePlace(number, index, text, card["readings"]), card)
