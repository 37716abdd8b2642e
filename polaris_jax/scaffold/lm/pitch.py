"""The preview, and the user requests this book would answer (specification 2.6 level 4, and 2.7)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.annotator import Preview
from polaris_jax.scaffold.lm import fields
from polaris_jax.scaffold.lm.form import Doubts, Field, Question, Unfit
from polaris_jax.scaffold.lm.room import spread
from polaris_jax.scaffold.lm.session import Session
from polaris_jax.scaffold.lm.world import seeded
from polaris_jax.scaffold.pitch import LENGTHS, PROMPTS_PER_BOOK
from polaris_jax.trajectory import Chapter, count_words

_PREVIEW = (
    "From these notes on a novel, write what a reader sees before opening it. Do not give the ending away, and do not "
    "address the reader."
)
_PROMPT = (
    "Somebody wants an author to write a novel and describes it in a request. The notes below the line say what the "
    "finished novel is like. Write that request: it asks for a book that does not exist yet, so it never speaks of the "
    "novel as written and quotes nothing."
)
_REGISTERS = ("neutral", "casual", "formal", "urgent")
_FORMS = ("a few words, at most 12", "1 to 3 sentences", "one paragraph", "a full brief of several paragraphs")
_STATED = ("genre", "protagonist", "setting", "ending", "style", "length", "chapters")
_TITLE_SHARE = 0.2


def preview_of(session: Session, chapters: Sequence[Chapter], facts: Sequence[str], notes: Sequence[str]) -> Preview:
    """Highlight, tags and archetype; the title is the novel's own."""
    task, offline = session.task, session.offline
    watch = session.watch(task.context.volume)
    question = Question("preview", _PREVIEW, (
        fields.passage("highlight", "where, who, what is at stake", 55, 140, (70, 110), watch),
        fields.tags("tags", "genre, period, place, theme and manner"),
        fields.passage("archetype", "the kind of story, its narrative engine and the tradition it belongs to",
                       45, 190, (60, 140), session.copies_only),
    ))  # fmt: skip
    said = session.ask([question.about("\n".join(spread(notes, session.room(question))))])[0]
    named = [(chapter.name, chapter.text) for chapter in chapters]
    spare = lambda: offline.preview(facts, named, task.context, task.detail.preview_words)  # noqa: E731
    return Preview(
        session.settle(said["highlight"], "highlight", lambda: spare().highlight),
        task.context.title,
        session.settle(said["tags"], "tags", lambda: spare().tags),
        session.settle(said["archetype"], "archetype", lambda: spare().archetype),
    )


@dataclass(frozen=True)
class Wish:
    """The sampled attributes of one request.

    Attributes:
      size: index of the length class in ``LENGTHS``.
      stated: which of genre, protagonist, setting, ending, style, length and chapters it mentions.
      words, chapters: the wished size, within a tenth of the book's.
      facts: plot facts it gives away.
      titled: whether it names the title.
    """

    size: int
    register: str
    stated: tuple[str, ...]
    words: int
    chapters: int
    facts: tuple[str, ...]
    titled: bool


def wishes(
    rng: random.Random, facts: Sequence[str], words: int, chapters: int, most_words: int, count: int = PROMPTS_PER_BOOK
) -> list[Wish]:
    """Attribute vectors of so many requests, each attribute drawn independently (2.7).

    Length classes that may exceed ``most_words`` are left out, but for the shortest. At most one request in five names
    the title.
    """
    sizes = [i for i, (_, _, most, _) in enumerate(LENGTHS) if most <= most_words] or [0]
    made = []
    for _ in range(count):
        size = rng.choices(sizes, [LENGTHS[i][0] for i in sizes])[0]
        revealed = rng.randint(0, min(LENGTHS[size][3], len(facts)))
        register = rng.choice(_REGISTERS)
        stated = tuple(name for name in _STATED if rng.random() < (0.2 if size == 0 else 0.5))
        wanted = words * rng.uniform(0.9, 1.1)
        made.append(Wish(
            size, register, stated or ("genre",),
            words=max(10, round(wanted, -2 if wanted > 1_000 else -1)),
            chapters=max(2, round(chapters * rng.uniform(0.9, 1.1))),
            facts=tuple(facts[i] for i in sorted(rng.sample(range(len(facts)), revealed))),
            titled=rng.random() < _TITLE_SHARE,
        ))  # fmt: skip
    return made


def prompts_of(
    session: Session, chapters: Sequence[Chapter], facts: Sequence[str], preview: Preview
) -> tuple[str, ...]:
    """Four requests with sampled attributes."""
    task = session.task
    affordable = session.context_tokens // 10  # words: question and answer share the window
    drawn = wishes(
        seeded(session, "prompts"), facts, count_words(task.context.volume), len(chapters),
        min(task.detail.prompt_words, affordable),
    )  # fmt: skip
    answers = session.ask([_prompt_question(session, wish, preview) for wish in drawn])
    named = [(chapter.name, chapter.text) for chapter in chapters]
    spare = lambda: session.offline.prompts(  # noqa: E731
        preview, facts, named, task.context, task.detail.prompt_words)  # fmt: skip
    return tuple(
        session.settle(answer["prompt"], f"prompts/{number}", lambda number=number: spare()[number])
        for number, answer in enumerate(answers)
    )


def _prompt_question(session: Session, wish: Wish, preview: Preview) -> Question:
    _, least, most, _ = LENGTHS[wish.size]
    length = f"{_FORMS[wish.size]}, {least} to {most} words"
    mention = {
        "length": f"a length of about {wish.words} words",
        "chapters": f"about {wish.chapters} chapters",
    }
    lines = [
        f"Register: {wish.register}.",
        f"Mention: {', '.join(mention.get(name, f'the {name}') for name in wish.stated)}.",
        f"Ask for the title {preview.title!r}." if wish.titled else "Do not mention the title.",
    ]
    if wish.facts:
        lines.append("Of the plot, mention just this: " + " ".join(wish.facts))
    material = f"{preview.highlight}\n\nTags: {', '.join(preview.tags)}\n\n{preview.archetype}"
    request = _request(f"the request, {length}", least, most, preview.title, wish.titled, session)
    return Question("prompt", "\n".join([_PROMPT, *lines]), (request,), material)


def _request(says: str, least: int, most: int, title: str, titled: bool, session: Session) -> Field:
    watch = session.copies_only

    def read(value) -> str:
        if not isinstance(value, str):
            raise Unfit("it must be a string")
        text = "\n".join(limits.one_line(line, 4_000) for line in value.splitlines()).strip()
        words = count_words(text)
        if not 0.8 * least <= words <= 1.2 * most:
            raise Unfit(f"it has {words} words, write {least} to {most}")
        if not titled and count_words(title) > 1 and title.lower() in text.lower():
            raise Unfit("it must not mention the title")
        return text

    def doubts(text: str) -> Doubts:
        return watch.doubts([text])

    return Field("prompt", says, {"type": "string", "maxLength": 8 * most}, read, doubts)
