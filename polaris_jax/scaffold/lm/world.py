"""What holds for the whole book: world rules, writing style, characters and archetypes (specification 2.6, level 3)."""

import hashlib
import random
from collections.abc import Sequence
from functools import partial

from polaris_jax.scaffold.drafts import pieces
from polaris_jax.scaffold.lm import fields
from polaris_jax.scaffold.lm.arcs import chapter_items
from polaris_jax.scaffold.lm.cards import bulleted
from polaris_jax.scaffold.lm.form import Question
from polaris_jax.scaffold.lm.room import spread, tokens, windows
from polaris_jax.scaffold.lm.session import Over, Session
from polaris_jax.scaffold.profile import Bound
from polaris_jax.scaffold.sentences import WORD
from polaris_jax.trajectory import Chapter, Described

_EXTRACTS, _EXTRACT_WORDS, _SCENES = 8, 400, 3
_SYNOPSIS = "These are notes on a novel, in order. Condense them; keep every turn of the plot and every name."
_RULES = (
    "From these notes and scenes of a novel, state how its world works: place and time, customs, law, money, belief, "
    "craft, what people can and cannot do. State rules that hold throughout, not events."
)
_STYLE = (
    "These are extracts from one novel. Describe how it is written, so that another author could write like it: person "
    "and tense, sentences, diction, dialogue, imagery, distance, humour, paragraphs. Say nothing of the plot."
)
_MAIN = "From these notes on a novel, describe its main characters: those whose choices move the story."
_SIDE = "From these notes on a novel, describe its side characters: those who matter but do not lead."
_ARCHETYPES = (
    "From these notes on a novel and its people, name the character archetypes that it is built on. An archetype is a "
    "role such as The Reluctant Witness; use no proper name of a person or place anywhere."
)
_NAMELESS = frozenset({"the", "narrator", "a", "an", "of"})


def seeded(session: Session, purpose: str) -> random.Random:
    """Randomness that depends on the book's content and the purpose only."""
    context = session.task.context
    seed = hashlib.sha256(f"{purpose}\0{context.title}\0{context.author}\0{context.volume}".encode()).hexdigest()
    return random.Random(int(seed[:16], 16))


def synopsis(session: Session, chapters: Sequence[Chapter]) -> list[str]:
    """The chapter cards, condensed window by window until they take at most half a context window.

    A window that the model fails to condense is thinned out instead.
    """
    room = session.context_tokens // 2
    items = chapter_items(chapters)
    watch = session.watch(session.task.context.volume)
    while sum(tokens(item) + 1 for item in items) > room:
        total = sum(tokens(item) for item in items)
        lines = [line for item in items for line in item.split("\n")]
        bound = Bound(max(1, len(lines) // 3), 30)
        most = max(2, 3 * session.affordable(bound).count)  # lines per window: a third of them comes back
        build = partial(_synopsis_question, watch)
        said = session.ask_over([Over(build, bound, lines, most)])[0]["synopsis"]
        items = [f"- {line}" for line in said.value] if said.value else spread(lines, total // 3)
        if sum(tokens(item) for item in items) > 0.9 * total:
            items = spread(items, room)
    return items


def _synopsis_question(watch, bound: Bound) -> Question:
    lines = fields.bullets("synopsis", "the course of events, in order", bound, watch)
    return Question("synopsis", _SYNOPSIS, (lines,))


def rules_and_style(
    session: Session, chapters: Sequence[Chapter], notes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """World rules from the notes and random scenes, writing style from random extracts."""
    detail, context, offline = session.task.detail, session.task.context, session.offline

    def question(key: str, task: str, says: str, bound: Bound) -> Question:
        lines = fields.bullets(key, says, session.affordable(bound), session.copies_only)
        return Question(key.replace("_", " "), task, (lines,))

    rules = question("world_rules", _RULES, "one rule each", detail.rules)
    style = question("writing_style", _STYLE, "one trait each", detail.style)
    rules = rules.about(_notes_and_scenes(session, chapters, notes, session.room(rules)))
    style = style.about(_extracts(session, session.room(style)))
    said_rules, said_style = session.ask([rules, style])
    said = said_rules | said_style
    return (
        session.settle(said["world_rules"], "world_rules", lambda: offline.world_rules(context, detail.rules)),
        session.settle(said["writing_style"], "writing_style", lambda: offline.writing_style(context, detail.style)),
    )


def _notes_and_scenes(session: Session, chapters: Sequence[Chapter], notes: Sequence[str], room: int) -> str:
    """The notes, then as many of a few random scenes as fit behind them."""
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


def _extracts(session: Session, room: int) -> str:
    """Up to eight random extracts of 400 words, fewer where the window is small; the first is shortened to fit."""
    runs = pieces(session.task.context.volume, _EXTRACT_WORDS)
    chosen = seeded(session, "writing style").sample(range(len(runs)), min(_EXTRACTS, len(runs)))
    kept = [windows(runs[chosen[0]], room)[0]]
    for index in chosen[1:]:
        if sum(tokens(text) + 3 for text in kept) + tokens(runs[index]) <= room:
            kept.append(runs[index])
    return "\n\n***\n\n".join(text.strip() for text in kept)


def cast_of(
    session: Session, chapters: Sequence[Chapter], notes: Sequence[str]
) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
    """Main and side characters; nobody is both."""
    task, offline = session.task, session.offline
    detail, context = task.detail, task.context
    watch = session.watch(context.volume)
    named = [(chapter.name, chapter.text) for chapter in chapters]
    questions = (
        _people("main_characters", _MAIN, detail.main, session, watch),
        _people("side_characters", _SIDE, detail.side, session, watch),
    )
    said_main, said_side = session.ask([
        question.about(_with_people(session, notes, session.room(question))) for question in questions
    ])  # fmt: skip
    spare = lambda: offline.characters(named, context, detail.main, detail.side, detail.person)  # noqa: E731
    main = session.settle(said_main["main_characters"], "main_characters", lambda: spare()[0])
    side = session.settle(said_side["side_characters"], "side_characters", lambda: spare()[1])
    leads = {group.name for group in main}
    others = tuple(group for group in side if group.name not in leads)
    if not others:
        session.fallback.setdefault("side_characters", "repeated")
        others = tuple(group for group in spare()[1] if group.name not in leads) or (
            Described("The Bystanders", ("Stand around the story and stay unnamed.",)),
        )
    return main, others


def _people(key: str, task: str, count: int, session: Session, watch) -> Question:
    person = session.task.detail.person
    each = Bound(session.affordable(person, max(1, count // 2)).count, person.words)
    count = max(1, min(count, session.affordable(Bound(count * each.count, person.words)).count // each.count))

    def fits(group: Described) -> str | None:
        strange = [w for w in WORD.findall(group.name) if w.lower() not in _NAMELESS and watch.unknown(f"is {w} here")]
        return f"nobody in the novel is called {group.name}" if strange else None

    says = "name as the novel gives it, and bullets on who they are, what they want and do, how they change"
    return Question(key.replace("_", " "), task, (
        fields.groups(key, says, count, each, watch, fits),
    ))  # fmt: skip


def _with_people(session: Session, notes: Sequence[str], room: int) -> str:
    """The notes behind a list of who is named how often."""
    counts = session.known.mentioned(session.task.context.volume)
    people = sorted((e for e in counts if e.person), key=lambda e: (-counts[e], e.aliases))[:30]
    listed = [f"{form} ({counts[e]})" for e in people if (form := e.form_in(session.task.context.volume))]
    head = f"NAMED IN IT, HOW OFTEN: {', '.join(listed)}" if listed else ""
    head = windows(head, max(32, room // 4))[0] if head else ""
    return "\n\n".join([head, *spread(notes, room - tokens(head) - 1)]).strip()


def archetypes_of(
    session: Session, chapters: Sequence[Chapter], notes: Sequence[str], people: Sequence[Described]
) -> tuple[Described, ...]:
    """Role labels without proper names."""
    detail, context = session.task.detail, session.task.context
    names = session.known.name_parts | {word for group in people for word in group.name.split() if word[0].isupper()}
    names = {name for name in names if name.lower() not in session.known.vocabulary}

    def fits(group: Described) -> str | None:
        found = [word for text in (group.name, *group.bullets) for word in WORD.findall(text) if word in names]
        return f"{found[0]} is a proper name, describe the role instead" if found else None

    each = Bound(session.affordable(detail.archetype, max(1, detail.archetypes // 2)).count, detail.archetype.words)
    count = session.affordable(Bound(detail.archetypes * each.count, each.words)).count // each.count
    count = max(1, min(detail.archetypes, count))
    question = Question("archetypes", _ARCHETYPES, (
        fields.groups("character_archetypes", "label of the role, and bullets on what it wants, does and risks", count,
                      each, session.copies_only, fits),
    ))  # fmt: skip
    items = [*notes, *(f"{group.name}\n{bulleted(group.bullets)}" for group in people)]
    said = session.ask([question.about("\n\n".join(spread(items, session.room(question))))])[0]
    named = [(chapter.name, chapter.text) for chapter in chapters]
    return session.settle(
        said["character_archetypes"],
        "character_archetypes",
        lambda: session.offline.archetypes(named, context, detail.archetypes, detail.archetype),
    )
