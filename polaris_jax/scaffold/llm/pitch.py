"""The preview, and user requests that this book would answer (specification 2.6 level 4, and 2.7)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.annotator import LENGTHS, PROMPTS_PER_BOOK
from polaris_jax.scaffold.llm import fields, prompts
from polaris_jax.scaffold.llm.context_budget import spread
from polaris_jax.scaffold.llm.question import AnnotationQuestion, InvalidField, Issues, QuestionField
from polaris_jax.scaffold.llm.session import AnnotationSession
from polaris_jax.scaffold.llm.world import seeded
from polaris_jax.trajectory import Chapter, Preview, count_words

_REGISTERS = ("neutral", "casual", "formal", "urgent")
_FORMS = ("a few words, at most 12", "1 to 3 sentences", "one paragraph", "a full brief of several paragraphs")
_STATED = ("genre", "protagonist", "setting", "ending", "style", "length", "chapters")
_TITLE_SHARE = 0.2


def preview_of(
    session: AnnotationSession, chapters: Sequence[Chapter], facts: Sequence[str], notes: Sequence[str]
) -> Preview:
    """Highlight, tags and archetype; the title is the novel's own."""
    task, offline = session.task, session.offline
    checker = session.checker(task.context.volume)
    question = AnnotationQuestion(
        "preview",
        prompts.text("preview"),
        (
            fields.passage("highlight", "where, who, what is at stake", 55, 140, (70, 110), checker),
            fields.tags("tags", "genre, period, place, theme and manner"),
            fields.passage(
                "archetype",
                "the kind of story, its narrative engine and the tradition it belongs to",
                45,
                190,
                (60, 140),
                session.copy_checker,
            ),
        ),
    )
    question = session.about_book(question)
    said = session.ask_about_book([question.about("\n".join(spread(notes, session.room(question))))])[0]
    named = [(chapter.name, chapter.text) for chapter in chapters]
    fallback = lambda: offline.preview(facts, named, task.context, task.detail.preview_words)  # noqa: E731
    return Preview(
        session.settle(said["highlight"], "highlight", lambda: fallback().highlight),
        task.context.title,
        session.settle(said["tags"], "tags", lambda: fallback().tags),
        session.settle(said["archetype"], "archetype", lambda: fallback().archetype),
    )


@dataclass(frozen=True)
class PromptAttributes:
    """The sampled attributes of one request.

    Attributes:
      size: index of the length class in ``LENGTHS``.
      stated: which of genre, protagonist, setting, ending, style, length and chapters it mentions.
      words, chapters: the requested size, within a tenth of the book's.
      facts: plot facts it reveals.
      titled: whether it mentions the title.
    """

    size: int
    register: str
    stated: tuple[str, ...]
    words: int
    chapters: int
    facts: tuple[str, ...]
    titled: bool


def sample_attributes(
    rng: random.Random, facts: Sequence[str], words: int, chapters: int, most_words: int, count: int = PROMPTS_PER_BOOK
) -> list[PromptAttributes]:
    """The attributes of ``count`` requests; each attribute is drawn independently (2.7).

    Length classes that may exceed ``most_words`` are left out, except the shortest. At most one request in five
    mentions the title.
    """
    sizes = [i for i, (_, _, most, _) in enumerate(LENGTHS) if most <= most_words] or [0]
    made = []
    for _ in range(count):
        size = rng.choices(sizes, [LENGTHS[i][0] for i in sizes])[0]
        revealed = rng.randint(0, min(LENGTHS[size][3], len(facts)))
        register = rng.choice(_REGISTERS)
        stated = tuple(name for name in _STATED if rng.random() < (0.2 if size == 0 else 0.5))
        wanted = words * rng.uniform(0.9, 1.1)
        made.append(
            PromptAttributes(
                size,
                register,
                stated or ("genre",),
                words=max(10, int(round(wanted, -2 if wanted > 1_000 else -1))),
                chapters=max(2, round(chapters * rng.uniform(0.9, 1.1))),
                facts=tuple(facts[i] for i in sorted(rng.sample(range(len(facts)), revealed))),
                titled=rng.random() < _TITLE_SHARE,
            )
        )
    return made


def prompts_of(
    session: AnnotationSession, chapters: Sequence[Chapter], facts: Sequence[str], preview: Preview
) -> tuple[str, ...]:
    """Four requests with sampled attributes."""
    task = session.task
    affordable = session.context_tokens // 10  # words: question and answer share the window
    drawn = sample_attributes(
        seeded(session, "prompts"),
        facts,
        count_words(task.context.volume),
        len(chapters),
        min(task.detail.prompt_words, affordable),
    )
    answers = session.ask([_prompt_question(session, attributes, preview) for attributes in drawn])
    named = [(chapter.name, chapter.text) for chapter in chapters]

    def offline(number: int) -> str:
        return session.offline.prompts(preview, facts, named, task.context, task.detail.prompt_words)[number]

    return tuple(
        session.settle(answer["prompt"], f"prompts/{number}", partial(offline, number))
        for number, answer in enumerate(answers)
    )


def _prompt_question(session: AnnotationSession, attributes: PromptAttributes, preview: Preview) -> AnnotationQuestion:
    _, least, most, _ = LENGTHS[attributes.size]
    length = f"{_FORMS[attributes.size]}, {least} to {most} words"
    mention = {
        "length": f"a length of about {attributes.words} words",
        "chapters": f"about {attributes.chapters} chapters",
    }
    form = session.task.context.form
    stated = attributes.stated
    if form == "story":  # whoever uses the request adds the length; a story has no chapters
        stated = tuple(name for name in stated if name not in mention) or ("genre",)
    lines = [
        f"Register: {attributes.register}.",
        f"Mention: {', '.join(mention.get(name, f'the {name}') for name in stated)}.",
        f"Ask for the title {preview.title!r}." if attributes.titled else "Do not mention the title.",
    ]
    if attributes.facts:
        lines.append("Of the plot, mention just this: " + " ".join(attributes.facts))
    material = f"{preview.highlight}\n\nTags: {', '.join(preview.tags)}\n\n{preview.archetype}"
    request = _request(f"the request, {length}", least, most, preview.title, attributes.titled, session)
    return AnnotationQuestion(
        "prompt", "\n".join([prompts.text("request").replace("novel", form), *lines]), (request,), material
    )


def _request(says: str, least: int, most: int, title: str, titled: bool, session: AnnotationSession) -> QuestionField:
    checker = session.copy_checker

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise InvalidField("it must be a string")
        text = "\n".join(limits.one_line(line, 4_000) for line in value.splitlines()).strip()
        words = count_words(text)
        if not 0.8 * least <= words <= 1.2 * most:
            raise InvalidField(f"it has {words} words, write {least} to {most}")
        if not titled and count_words(title) > 1 and title.lower() in text.lower():
            raise InvalidField("it must not mention the title")
        return text

    def issues(text: str) -> Issues:
        return checker.issues([text])

    return QuestionField("prompt", says, {"type": "string", "maxLength": 8 * most}, read, issues)
