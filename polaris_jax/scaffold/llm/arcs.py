"""Arcs: a partition of the chapters into consecutive runs, each told at three lengths (specification 2.6, level 3)."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from polaris_jax.scaffold.llm import fields, prompts
from polaris_jax.scaffold.llm.cards import bulleted
from polaris_jax.scaffold.llm.context_budget import thinned
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker
from polaris_jax.scaffold.llm.question import AnnotationQuestion, InvalidField, QuestionField
from polaris_jax.scaffold.llm.session import AnnotationSession, Answer, ChunkedQuestion
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import Arc, Chapter

Told = tuple[list[tuple[str, ...]], list[dict[str, Answer]]]  # notes per arc, and the answers that gave them
_MOST_PER_ARC = 99  # chapters, the grammar's limit


def arcs_of(session: AnnotationSession, chapters: Sequence[Chapter]) -> tuple[Arc, ...]:
    """Arcs with titles and notes: long ones from the chapter cards, medium from long, short from medium."""
    detail, offline, context = session.task.detail, session.offline, session.task.context
    starts = _starts(session, chapters)
    groups = [chapters[a:b] for a, b in pairwise([*starts, len(chapters)])]
    checkers = [session.checker(*map(_all_text, group)) for group in groups]

    def tell(key: str, jobs: list[ChunkedQuestion], fallback: Callable[[int, Bound], tuple[str, ...]]) -> Told:
        """The notes of every arc, and the answers that contained them."""
        answers = session.ask_chunked(jobs)
        lines = []
        for number, (job, said) in enumerate(zip(jobs, answers, strict=True)):
            filled = partial(fallback, number, job.bound)
            lines.append(session.settle(said[key], f"arcs/{number}/{key}", filled)[: job.bound.count])
        return lines, answers

    def retold(key: str, task: str, told: list[tuple[str, ...]], half: Bound, titled: bool) -> Told:
        """The notes, condensed to half their number and at most ``half``."""
        jobs = []
        for lines, checker in zip(told, checkers, strict=True):
            head = (fields.line("title", "names the arc", 8, checker, titled=True),) if titled else ()
            bound = Bound(min(half.count, max(1, (len(lines) + titled) // 2)), half.words)
            jobs.append(
                ChunkedQuestion(partial(_retelling, key, task, checker, head), bound, [f"- {line}" for line in lines])
            )
        return tell(key, jobs, lambda number, bound: offline.compress(told[number], context, bound))

    long, _ = tell(
        "long",
        [_long(session, group, checker) for group, checker in zip(groups, checkers, strict=True)],
        lambda number, _: offline.long_arc([chapter.text for chapter in groups[number]], context, detail),
    )
    medium, _ = retold("medium", prompts.text("arc_medium"), long, detail.medium, titled=False)
    short, answers = retold("short", prompts.text("arc_short"), medium, detail.short, titled=True)
    titles = _titles(session, groups, [said["title"] for said in answers])
    return tuple(
        Arc(titles[n], short[n], medium[n], long[n], tuple(chapter.name for chapter in group))
        for n, group in enumerate(groups)
    )


def _all_text(chapter: Chapter) -> str:
    return " ".join([chapter.text, *chapter.focuses, *chapter.summary])


def chapter_items(chapters: Sequence[Chapter], first: int = 1) -> list[str]:
    """Chapter cards for a model to read, numbered from ``first``."""
    return [f"CHAPTER {n}: {chapter.name}\n{bulleted(chapter.summary)}" for n, chapter in enumerate(chapters, first)]


def _long(session: AnnotationSession, group: Sequence[Chapter], checker: FaithfulnessChecker) -> ChunkedQuestion:
    """Asks for a few bullets per chapter, for as many chapters at once as one answer has room for."""
    detail = session.task.detail
    each = detail.long_per_chapter
    bound = Bound(min(detail.long_bound(len(group)).count, each * len(group)), detail.long.words)
    most = max(1, session.affordable(Bound(80, bound.words)).count // each)
    return ChunkedQuestion(
        partial(_retelling, "long", prompts.text("arc_long"), checker, ()), bound, chapter_items(group), most
    )


def _retelling(
    key: str, task: str, checker: FaithfulnessChecker, before: tuple[QuestionField, ...], bound: Bound
) -> AnnotationQuestion:
    return AnnotationQuestion(
        f"{key} arc", task, (*before, fields.bullets(key, "the course of the arc, in order", bound, checker))
    )


def _starts(session: AnnotationSession, chapters: Sequence[Chapter]) -> tuple[int, ...]:
    """Index of the chapter that opens each arc, from 0."""
    total, most = len(chapters), session.task.arcs
    least = max(-(-total // _MOST_PER_ARC), min(2, most))

    def fallback() -> tuple[int, ...]:
        return session.offline.arc_starts([chapter.text for chapter in chapters], session.task.context, most)

    if most < 2 or total <= least:
        return tuple(range(total)) if 1 < total <= least else (0,)
    many = f"{least} to {most}" if least < most else f"{most}"
    says = "the number of the first chapter of each arc, in rising order"
    openings = fields.numbers("openings", says, 1, total, most)

    def read(value: Any) -> tuple[int, ...]:
        starts = tuple(sorted({0, *(number - 1 for number in openings.read(value))}))
        if not least <= len(starts) <= most:
            raise InvalidField(f"that makes {len(starts)} arcs, divide the chapters into {many}")
        longest = max(b - a for a, b in pairwise([*starts, total]))
        if longest > _MOST_PER_ARC:
            raise InvalidField(f"an arc has {longest} chapters, at most {_MOST_PER_ARC} are possible")
        return starts

    field = QuestionField("openings", f"{says} ({many} numbers, the first is 1)", openings.schema, read)
    question = AnnotationQuestion("arcs", prompts.text("arcs").format(many=many), (field,))
    cards = [
        lambda count, n=n, c=c: f"CHAPTER {n}: {c.name}\n{bulleted(c.summary[:count])}".strip()
        for n, c in enumerate(chapters, 1)
    ]
    shown = thinned(cards, session.room(question), max(len(chapter.summary) for chapter in chapters))
    answer = Answer(failure="too long")
    if shown:
        answer = session.ask([question.about("\n".join(shown))])[0]["openings"]
    return session.settle(answer, "arcs", fallback)


def _titles(session: AnnotationSession, groups: Sequence[Sequence[Chapter]], titles: Sequence[Answer]) -> list[str]:
    """A different title for every arc."""
    taken: list[str] = []
    for number, (group, answer) in enumerate(zip(groups, titles, strict=True)):
        if answer.value in taken:
            answer = Answer(failure="repeated")
        text = "\n\n".join(chapter.text for chapter in group)
        heading = partial(session.offline.heading, text, session.task.context, frozenset(taken))
        taken.append(session.settle(answer, f"arcs/{number}/title", heading))
    return taken
