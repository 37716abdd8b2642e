"""Parts about the whole book: world rules, writing style, characters and archetypes (specification 2.6, level 3)."""

import hashlib
import random
from collections.abc import Sequence
from functools import partial

from polaris_jax.scaffold.analysis.sentences import WORD
from polaris_jax.scaffold.drafts import pieces
from polaris_jax.scaffold.llm import fields, prompts
from polaris_jax.scaffold.llm.arcs import chapter_items
from polaris_jax.scaffold.llm.cards import bulleted
from polaris_jax.scaffold.llm.context_budget import spread, tokens, windows
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker
from polaris_jax.scaffold.llm.question import AnnotationQuestion
from polaris_jax.scaffold.llm.session import AnnotationSession, ChunkedQuestion
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import Chapter, Described

_EXTRACTS, _EXTRACT_WORDS, _SCENES = 8, 400, 3
_NAMELESS = frozenset({"the", "narrator", "a", "an", "of"})


def seeded(session: AnnotationSession, purpose: str) -> random.Random:
    """A random generator; its seed depends only on the book's content and ``purpose``."""
    context = session.task.context
    seed = hashlib.sha256(f"{purpose}\0{context.title}\0{context.author}\0{context.volume}".encode()).hexdigest()
    return random.Random(int(seed[:16], 16))


def synopsis(session: AnnotationSession, chapters: Sequence[Chapter]) -> list[str]:
    """The chapter cards, condensed window by window until they fit half a context window.

    If the model fails to condense a window, some of its lines are dropped instead.
    """
    room = session.context_tokens // 2
    items = chapter_items(chapters)
    checker = session.checker(session.task.context.volume)
    while sum(tokens(item) + 1 for item in items) > room:
        total = sum(tokens(item) for item in items)
        lines = [line for item in items for line in item.split("\n")]
        bound = Bound(max(1, len(lines) // 3), 30)
        most = max(2, 3 * session.affordable(bound).count)  # lines per window: a third of them comes back
        build = partial(_synopsis_question, checker)
        said = session.ask_chunked([ChunkedQuestion(build, bound, lines, most)])[0]["synopsis"]
        items = [f"- {line}" for line in said.value] if said.value else spread(lines, total // 3)
        if sum(tokens(item) for item in items) > 0.9 * total:
            items = spread(items, room)
    return items


def _synopsis_question(checker: FaithfulnessChecker, bound: Bound) -> AnnotationQuestion:
    lines = fields.bullets("synopsis", "the course of events, in order", bound, checker)
    return AnnotationQuestion("synopsis", prompts.text("synopsis"), (lines,))


def rules_and_style(
    session: AnnotationSession, chapters: Sequence[Chapter], notes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """World rules from the notes and random scenes; writing style from random extracts."""
    detail, context, offline = session.task.detail, session.task.context, session.offline

    def question(key: str, task: str, says: str, bound: Bound) -> AnnotationQuestion:
        lines = fields.bullets(key, says, session.affordable(bound), session.copy_checker)
        return session.about_book(AnnotationQuestion(key.replace("_", " "), task, (lines,)))

    rules = question("world_rules", prompts.text("world_rules"), "one rule each", detail.rules)
    style = question("writing_style", prompts.text("writing_style"), "one trait each", detail.style)
    rules = rules.about(_notes_and_scenes(session, chapters, notes, session.room(rules)))
    style = style.about(_extracts(session, session.room(style)))
    said_rules, said_style = session.ask_about_book([rules, style])
    said = said_rules | said_style
    return (
        session.settle(said["world_rules"], "world_rules", lambda: offline.world_rules(context, detail.rules)),
        session.settle(said["writing_style"], "writing_style", lambda: offline.writing_style(context, detail.style)),
    )


def _notes_and_scenes(session: AnnotationSession, chapters: Sequence[Chapter], notes: Sequence[str], room: int) -> str:
    """The notes, followed by as many of a few random scenes as fit."""
    scenes = [scene.text for chapter in chapters for scene in chapter.scenes]
    chosen = seeded(session, "world rules").sample(range(len(scenes)), min(_SCENES, len(scenes)))
    parts = spread(notes, room)
    left = room - sum(tokens(part) + 2 for part in parts)
    for index in sorted(chosen):
        size = tokens(scenes[index]) + 8
        if size <= left:
            parts.append(f"A SCENE OF IT\n{scenes[index].strip()}")
            left -= size
    return "\n\n".join(parts)


def _extracts(session: AnnotationSession, room: int) -> str:
    """Up to eight random extracts of 400 words, fewer in a small window; the first is shortened to fit."""
    runs = pieces(session.task.context.volume, _EXTRACT_WORDS)
    chosen = seeded(session, "writing style").sample(range(len(runs)), min(_EXTRACTS, len(runs)))
    kept = [windows(runs[chosen[0]], room)[0]]
    for index in chosen[1:]:
        if sum(tokens(text) + 3 for text in kept) + tokens(runs[index]) <= room:
            kept.append(runs[index])
    return "\n\n***\n\n".join(text.strip() for text in kept)


def cast_of(
    session: AnnotationSession, chapters: Sequence[Chapter], notes: Sequence[str]
) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
    """Main and side characters; nobody is both."""
    task, offline = session.task, session.offline
    detail, context = task.detail, task.context
    checker = session.checker(context.volume)
    named = [(chapter.name, chapter.text) for chapter in chapters]
    questions = (
        _people("main_characters", prompts.text("main_characters"), detail.main, session, checker),
        _people("side_characters", prompts.text("side_characters"), detail.side, session, checker),
    )
    said_main, said_side = session.ask_about_book(
        [question.about(_with_people(session, notes, session.room(question))) for question in questions]
    )

    def offline_cast() -> tuple[tuple[Described, ...], tuple[Described, ...]]:
        return offline.characters(named, context, detail.main, detail.side, detail.person)

    main = session.settle(said_main["main_characters"], "main_characters", lambda: offline_cast()[0])
    side = session.settle(said_side["side_characters"], "side_characters", lambda: offline_cast()[1])
    leads = {group.name for group in main}
    others = tuple(group for group in side if group.name not in leads)
    if not others:
        session.fallback.setdefault("side_characters", "repeated")
        others = tuple(group for group in offline_cast()[1] if group.name not in leads) or (
            Described("The Bystanders", ("Stand around the story and stay unnamed.",)),
        )
    return main, others


def _people(
    key: str, task: str, count: int, session: AnnotationSession, checker: FaithfulnessChecker
) -> AnnotationQuestion:
    person = session.task.detail.person
    each = Bound(session.affordable(person, max(1, count // 2)).count, person.words)
    count = max(1, min(count, session.affordable(Bound(count * each.count, person.words)).count // each.count))

    def fits(group: Described) -> str | None:
        strange = [
            w for w in WORD.findall(group.name) if w.lower() not in _NAMELESS and checker.unknown(f"is {w} here")
        ]
        return f"nobody in the novel is called {group.name}" if strange else None

    says = "name as the novel gives it, and bullets on who they are, what they want and do, how they change"
    people = fields.groups(key, says, count, each, checker, fits)
    return session.about_book(AnnotationQuestion(key.replace("_", " "), task, (people,)))


def _with_people(session: AnnotationSession, notes: Sequence[str], room: int) -> str:
    """A list of how often each person is named, then the notes."""
    counts = session.stats.mentioned(session.task.context.volume)
    people = sorted((e for e in counts if e.person), key=lambda e: (-counts[e], e.aliases))[:30]
    listed = [f"{form} ({counts[e]})" for e in people if (form := e.form_in(session.task.context.volume))]
    head = f"NAMED IN IT, HOW OFTEN: {', '.join(listed)}" if listed else ""
    head = windows(head, max(32, room // 4))[0] if head else ""
    return "\n\n".join([head, *spread(notes, room - tokens(head) - 1)]).strip()


def archetypes_of(
    session: AnnotationSession, chapters: Sequence[Chapter], notes: Sequence[str], people: Sequence[Described]
) -> tuple[Described, ...]:
    """Role labels without proper names."""
    detail, context = session.task.detail, session.task.context
    found = session.stats.name_parts | {word for group in people for word in group.name.split() if word[0].isupper()}
    names = {name for name in found if name.lower() not in session.stats.vocabulary}

    def fits(group: Described) -> str | None:
        used = [word for text in (group.name, *group.bullets) for word in WORD.findall(text) if word in names]
        return f"{used[0]} is a proper name, describe the role instead" if used else None

    each = Bound(session.affordable(detail.archetype, max(1, detail.archetypes // 2)).count, detail.archetype.words)
    count = session.affordable(Bound(detail.archetypes * each.count, each.words)).count // each.count
    count = max(1, min(detail.archetypes, count))
    question = AnnotationQuestion(
        "archetypes",
        prompts.text("archetypes"),
        (
            fields.groups(
                "character_archetypes",
                "label of the role, and bullets on what it wants, does and risks",
                count,
                each,
                session.copy_checker,
                fits,
            ),
        ),
    )
    question = session.about_book(question)
    items = [*notes, *(f"{group.name}\n{bulleted(group.bullets)}" for group in people)]
    said = session.ask_about_book([question.about("\n\n".join(spread(items, session.room(question))))])[0]
    named = [(chapter.name, chapter.text) for chapter in chapters]
    return session.settle(
        said["character_archetypes"],
        "character_archetypes",
        lambda: session.offline.archetypes(named, context, detail.archetypes, detail.archetype),
    )
