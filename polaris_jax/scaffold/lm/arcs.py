"""Arcs: a partition of the chapters into consecutive runs, each told at three lengths (specification 2.6, level 3)."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from polaris_jax.scaffold.lm import fields
from polaris_jax.scaffold.lm.cards import bulleted
from polaris_jax.scaffold.lm.faith import Watch
from polaris_jax.scaffold.lm.form import Field, Question, Unfit
from polaris_jax.scaffold.lm.room import thinned
from polaris_jax.scaffold.lm.session import Answer, Over, Session
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import Arc, Chapter

_MOST_PER_ARC = 99  # of the grammar
_PARTITION = (
    "These are the chapters of a novel in order. Divide them into {} consecutive arcs: an arc is a run of chapters "
    "that follows one problem from its beginning to its turn."
)
_LONG = "These are chapters of one arc of a novel. Tell the arc from its first event to its last."
_MEDIUM = "These notes tell one arc of a novel. Tell the same arc in about half as many, keeping causes and turns."
_SHORT = "These notes tell one arc of a novel. Give the arc a title and say its course as briefly as you can."


def arcs_of(session: Session, chapters: Sequence[Chapter]) -> tuple[Arc, ...]:
    """Arcs with titles and long, medium and short notes; long ones from the chapter cards, each next from the last."""
    detail, offline, context = session.task.detail, session.offline, session.task.context
    starts = _starts(session, chapters)
    groups = [chapters[a:b] for a, b in pairwise([*starts, len(chapters)])]
    watches = [session.watch(*map(_all_text, group)) for group in groups]

    def tell(key: str, jobs: list[Over], spare: Callable[[int, Bound], tuple[str, ...]]):
        """The notes of every arc, and the answers they stood in."""
        answers = session.ask_over(jobs)
        lines = []
        for number, (job, said) in enumerate(zip(jobs, answers, strict=True)):
            filled = partial(spare, number, job.bound)
            lines.append(session.settle(said[key], f"arcs/{number}/{key}", filled)[: job.bound.count])
        return lines, answers

    def retold(key: str, task: str, told: list[tuple[str, ...]], half: Bound, titled: bool):
        """Notes in half as many, at most ``half``."""
        jobs = []
        for lines, watch in zip(told, watches, strict=True):
            head = (fields.line("title", "names the arc", 8, watch, titled=True),) if titled else ()
            bound = Bound(min(half.count, max(1, (len(lines) + titled) // 2)), half.words)
            jobs.append(Over(partial(_retelling, key, task, watch, head), bound, [f"- {line}" for line in lines]))
        return tell(key, jobs, lambda number, bound: offline.compress(told[number], context, bound))

    long, _ = tell(
        "long",
        [_long(session, group, watch) for group, watch in zip(groups, watches, strict=True)],
        lambda number, _: offline.long_arc([chapter.text for chapter in groups[number]], context, detail),
    )
    medium, _ = retold("medium", _MEDIUM, long, detail.medium, titled=False)
    short, answers = retold("short", _SHORT, medium, detail.short, titled=True)
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


def _long(session: Session, group: Sequence[Chapter], watch: Watch) -> Over:
    """A few bullets per chapter; as many chapters at once as one answer has room for."""
    detail = session.task.detail
    each = detail.long_per_chapter
    bound = Bound(min(detail.long_bound(len(group)).count, each * len(group)), detail.long.words)
    most = max(1, session.affordable(Bound(80, bound.words)).count // each)
    return Over(partial(_retelling, "long", _LONG, watch, ()), bound, chapter_items(group), most)


def _retelling(key: str, task: str, watch: Watch, before: tuple[Field, ...], bound: Bound) -> Question:
    return Question(f"{key} arc", task, (*before, fields.bullets(key, "the course of the arc, in order", bound, watch)))


def _starts(session: Session, chapters: Sequence[Chapter]) -> tuple[int, ...]:
    """Index of the chapter that opens each arc, from 0."""
    total, most = len(chapters), session.task.arcs
    least = max(-(-total // _MOST_PER_ARC), min(2, most))

    def spare() -> tuple[int, ...]:
        return session.offline.arc_starts([chapter.text for chapter in chapters], session.task.context, most)

    if most < 2 or total <= least:
        return tuple(range(total)) if 1 < total <= least else (0,)
    many = f"{least} to {most}" if least < most else f"{most}"
    says = "the number of the first chapter of each arc, in rising order"
    openings = fields.numbers("openings", says, 1, total, most)

    def read(value) -> tuple[int, ...]:
        starts = tuple(sorted({0, *(number - 1 for number in openings.read(value))}))
        if not least <= len(starts) <= most:
            raise Unfit(f"that makes {len(starts)} arcs, divide the chapters into {many}")
        longest = max(b - a for a, b in pairwise([*starts, total]))
        if longest > _MOST_PER_ARC:
            raise Unfit(f"an arc has {longest} chapters, at most {_MOST_PER_ARC} are possible")
        return starts

    field = Field("openings", f"{says} ({many} numbers, the first is 1)", openings.schema, read)
    question = Question("arcs", _PARTITION.format(many), (field,))
    cards = [lambda count, n=n, c=c: f"CHAPTER {n}: {c.name}\n{bulleted(c.summary[:count])}".strip()
             for n, c in enumerate(chapters, 1)]  # fmt: skip
    shown = thinned(cards, session.room(question), max(len(chapter.summary) for chapter in chapters))
    answer = Answer(failure="too long")
    if shown:
        answer = session.ask([question.about("\n".join(shown))])[0]["openings"]
    return session.settle(answer, "arcs", spare)


def _titles(session: Session, groups: Sequence[Sequence[Chapter]], titles: Sequence[Answer]) -> list[str]:
    """A different title for every arc."""
    taken: list[str] = []
    for number, (group, answer) in enumerate(zip(groups, titles, strict=True)):
        if answer.value in taken:
            answer = Answer(failure="repeated")
        text = "\n\n".join(chapter.text for chapter in group)
        path, known = f"arcs/{number}/title", frozenset(taken)
        taken.append(session.settle(
            answer, path, lambda text=text, known=known: session.offline.heading(text, session.task.context, known)
        ))  # fmt: skip
    return taken
