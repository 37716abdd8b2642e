"""Scene cards and chapter cards (specification 2.6, levels 1 and 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from polaris_jax.scaffold.annotator import Progress
from polaris_jax.scaffold.assemble import chapter_card, scene_card
from polaris_jax.scaffold.llm import fields, prompts
from polaris_jax.scaffold.llm.context_budget import shares, tokens, windows
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker, text_words
from polaris_jax.scaffold.llm.question import AnnotationQuestion
from polaris_jax.scaffold.llm.scenes import scenes_of, vectors_of
from polaris_jax.scaffold.llm.session import AnnotationSession, Answer, ChunkedQuestion, merged
from polaris_jax.scaffold.profile import Bound, share
from polaris_jax.trajectory import Chapter, Scene, count_words


@dataclass(frozen=True)
class ScenePlace:
    """A scene without its card: chapter and scene number, text, vector."""

    chapter: int
    scene: int
    text: str
    vector: Answer

    @property
    def path(self) -> str:
        return f"chapters/{self.chapter}/scenes/{self.scene}"


def cards(session: AnnotationSession, progress: Progress | None = None) -> tuple[Chapter, ...]:
    """Every chapter with its scenes.

    Scenes are asked for in waves: first the first scenes of all chapters, then the second scenes, and so on. So the
    question for a scene can show the card before it, and many calls still run at once.
    """
    parts = session.task.parts
    texts = scenes_of(session)
    vectors = iter(vectors_of(session, [text for scenes in texts for text in scenes]))
    places = [
        [ScenePlace(number, index, text, next(vectors)) for index, text in enumerate(scenes)]
        for number, scenes in enumerate(texts)
    ]
    written: list[list[Scene]] = [[] for _ in parts]
    for wave in range(max(map(len, texts))):
        here = [group[wave] for group in places if wave < len(group)]
        for place, scene in zip(here, _scenes(session, here, written), strict=True):
            written[place.chapter].append(scene)
        if progress:
            done = sum(len(cards) == len(scenes) for cards, scenes in zip(written, texts, strict=True))
            progress(min(done, len(parts) - 1), len(parts), parts[min(done, len(parts) - 1)].name)
    chapters = _chapters(session, written)
    if progress:
        progress(len(parts), len(parts), parts[-1].name)
    return chapters


def _scenes(
    session: AnnotationSession, places: Sequence[ScenePlace], written: Sequence[Sequence[Scene]]
) -> list[Scene]:
    """One wave of scenes, at most one per chapter."""
    plans = [scene_questions(session, place, written[place.chapter]) for place in places]
    answers = iter(session.ask([question for plan in plans for question in plan]))
    result = []
    for place, plan in zip(places, plans, strict=True):
        result.append(settled_scene(session, place, merged([next(answers) for _ in plan])))
    return result


def scene_questions(session: AnnotationSession, place: ScenePlace, before: Sequence[Scene]) -> list[AnnotationQuestion]:
    """The question for a scene's card; several, about its pieces, if the scene does not fit the window."""
    detail = session.task.detail
    words = count_words(place.text)
    bound = session.affordable(share(words, detail.scene_words, detail.scene))
    checker = FaithfulnessChecker(session.stats, text_words(" ".join([place.text, *map(_spoken, before)])))
    context = _surroundings(session, place, before)
    whole = _scene_question(prompts.text("scene"), bound, detail.focuses, checker)
    room = max(64, session.room(whole) - tokens(context))
    pieces = windows(place.text, room)
    if len(pieces) == 1:
        return [whole.about(f"{context}TEXT OF THE SCENE\n{place.text.strip()}")]
    bounds = shares(bound, [count_words(piece) for piece in pieces])
    return [
        _scene_question(prompts.text("scene_piece"), part, detail.focuses, checker).about(
            f"{context}TEXT OF THE SCENE\n{piece.strip()}"
        )
        for piece, part in zip(pieces, bounds, strict=True)
    ]


def _scene_question(task: str, bound: Bound, focuses: int, checker: FaithfulnessChecker) -> AnnotationQuestion:
    return AnnotationQuestion(
        "scene card",
        task,
        (
            fields.line("name", "a title for the scene, like a chapter heading", 7, checker, titled=True),
            fields.focuses("focuses", "what the scene is about: people, aims, objects", focuses, checker),
            fields.line("perspective", "person, tense and whose eyes it is seen through", 14, checker),
            fields.bullets("summary", "what happens, in the order it is told", bound, checker),
        ),
    )


def _surroundings(session: AnnotationSession, place: ScenePlace, before: Sequence[Scene]) -> str:
    """The names of the people in the scene, and the card of the scene before."""
    counts = session.stats.mentioned(place.text)
    people = sorted((e for e in counts if e.person), key=lambda e: (-counts[e], e.aliases))
    forms = [form for entity in people[:12] if (form := entity.form_in(place.text))]
    lines = [f"PEOPLE NAMED IN IT: {', '.join(forms)}"] if forms else []
    if before:
        last = before[-1]
        lines.append(f"THE SCENE BEFORE: {last.name}. {' '.join(last.summary[-2:])}")
    return "\n".join(lines) + "\n\n" if lines else ""


def _spoken(scene: Scene) -> str:
    return " ".join([scene.name, *scene.focuses, scene.perspective, *scene.summary])


def settled_scene(session: AnnotationSession, place: ScenePlace, said: dict[str, Answer]) -> Scene:
    """The card made of the answers; the offline annotator fills in fields that failed."""
    offline, context, detail = session.offline, session.task.context, session.task.detail
    bound = share(count_words(place.text), detail.scene_words, detail.scene)
    settle = lambda key, fallback: session.settle(said[key], f"{place.path}/{key}", fallback)  # noqa: E731
    return scene_card(
        Scene(
            name=settle("name", lambda: offline.heading(place.text, context, frozenset())),
            word_count=0,
            vector=session.settle(place.vector, f"{place.path}/vector", lambda: offline.vector(place.text, context)),
            focuses=settle("focuses", lambda: offline.focuses(place.text, context, detail.focuses))[: detail.focuses],
            perspective=settle("perspective", lambda: offline.perspective(place.text, context)),
            summary=settle("summary", lambda: offline.summary(place.text, context, bound))[: bound.count],
            text=place.text,
        )
    )


def _chapters(session: AnnotationSession, written: Sequence[Sequence[Scene]]) -> tuple[Chapter, ...]:
    """Chapter cards from the scene cards, and from the text too if both fit the window."""
    detail = session.task.detail
    jobs = []
    for draft, scenes in zip(session.task.parts, written, strict=True):
        bound = share(draft.words, detail.chapter_words, detail.chapter, least=2)
        checker = session.checker(draft.text, *map(_spoken, scenes))
        items = [f"SCENE {number}: {scene.name}\n{bulleted(scene.summary)}" for number, scene in enumerate(scenes, 1)]
        full = "\n\n".join([*items, f"TEXT OF THE CHAPTER\n{draft.text}"])
        whole = partial(_chapter_question, detail.focuses + 1, checker, " and its text")
        if tokens(full) <= session.room(whole(session.affordable(bound))):
            jobs.append(ChunkedQuestion(whole, bound, [full]))
        else:
            jobs.append(ChunkedQuestion(partial(_chapter_question, detail.focuses + 1, checker, ""), bound, items))
    return tuple(
        settled_chapter(session, number, said, tuple(written[number]), jobs[number].bound)
        for number, said in enumerate(session.ask_chunked(jobs))
    )


def _chapter_question(focuses: int, checker: FaithfulnessChecker, also: str, bound: Bound) -> AnnotationQuestion:
    return AnnotationQuestion(
        "chapter card",
        prompts.text("chapter").format(also=also),
        (
            fields.focuses("focuses", "what the chapter is about: people, aims, objects", focuses, checker),
            fields.bullets("summary", "what happens, in the order it is told", bound, checker),
        ),
    )


def settled_chapter(
    session: AnnotationSession, number: int, said: dict[str, Answer], scenes: tuple[Scene, ...], bound: Bound
) -> Chapter:
    """The chapter made of the answers about it."""
    offline, context, most = session.offline, session.task.context, session.task.detail.focuses + 1
    text, path = session.task.parts[number].text, f"chapters/{number}"
    focuses = session.settle(said["focuses"], f"{path}/focuses", lambda: offline.focuses(text, context, most))
    summary = session.settle(said["summary"], f"{path}/summary", lambda: offline.summary(text, context, bound))
    name = session.task.parts[number].name
    return chapter_card(Chapter(name, 0, scenes[0].vector, focuses[:most], summary[: bound.count], scenes, text))


def bulleted(lines: Sequence[str]) -> str:
    """Lines as a list for a model to read."""
    return "\n".join(f"- {line}" for line in lines)
