"""Where scenes begin, by paragraph numbers that a model names (specification 2.3); and the scores of a scene (2.5).

The author's explicit breaks always stay. The library does not say which of its boundaries are explicit, so they are
recovered: a boundary is explicit if lexical cohesion alone would not have put it there.
"""

import re
import statistics
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

from polaris_jax.library.novel import Novel
from polaris_jax.library.scenes import split_scenes
from polaris_jax.scaffold.drafts import SCENE_LEAST, Draft, fit_scenes
from polaris_jax.scaffold.llm import fields, prompts
from polaris_jax.scaffold.llm.context_budget import tokens, windows
from polaris_jax.scaffold.llm.question import AnnotationQuestion, QuestionField
from polaris_jax.scaffold.llm.session import AnnotationSession, Answer
from polaris_jax.trajectory import DIMENSIONS, Vector, count_words

WINDOW_WORDS = 6_000
OVERLAP = 5  # paragraphs
FLOOR = 10  # a mean below this is 0
WIDE = 30  # samples further apart than this give their median
_PARAGRAPH = re.compile(r".+?(?:\n\s*\n|\Z)", re.S)


def _opening(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())[:100]


def explicit_openings(novel: Novel) -> frozenset[str]:
    """The openings of chapters, and of scenes after an explicit break."""
    found = {_opening(chapter.text) for chapter in novel.chapters}
    for chapter in novel.chapters:
        found |= {_opening(chapter.scenes[i]) for i in _explicit(chapter.text, chapter.scenes)}
    return frozenset(found)


def _explicit(text: str, scenes: Sequence[str]) -> list[int]:
    """Indices of the scenes that the library would not have opened without an explicit break there."""
    if len(scenes) < 2:
        return []
    paragraphs, place, at = text.split("\n\n"), 0, {}
    for index, paragraph in enumerate(paragraphs):
        at[place] = index
        place += len(paragraph) + 2
    starts, place = {}, 0
    for number, scene in enumerate(scenes):
        if number and place in at:
            starts[number] = at[place]
        place += len(scene)

    def explained(breaks: Collection[int]) -> bool:
        return split_scenes(paragraphs, [index in breaks for index in range(len(paragraphs))]) == tuple(scenes)

    needed = dict(starts)
    if explained(()):
        return []
    for number in starts:
        fewer = {n: index for n, index in needed.items() if n != number}
        if explained(set(fewer.values())):
            needed = fewer
    return list(needed)


def scenes_of(session: AnnotationSession) -> list[tuple[str, ...]]:
    """The scenes of every chapter; each chapter's concatenation is its text."""
    task = session.task
    plans = [_plan(draft, session) if most_scenes(session) > 1 else [] for draft in task.parts]
    answers = iter(session.ask([question for plan in plans for _, question in plan]))
    named: list[Answer | None] = []
    for plan in plans:
        said = [(decides, next(answers)["openings"]) for decides, _ in plan]
        failed = next((answer for _, answer in said if answer.value is None), None)
        if not said or failed is not None:
            named.append(failed)
        else:
            named.append(Answer(tuple(n for decides, answer in said for n in answer.value if n in decides)))
    return cut_scenes(session, named)


def most_scenes(session: AnnotationSession) -> int:
    """Most scenes of a chapter."""
    return min(session.task.detail.scenes, 12)


def cut_scenes(session: AnnotationSession, named: Sequence[Answer | None]) -> list[tuple[str, ...]]:
    """The chapters cut before the paragraphs that a model named, and at the author's explicit breaks.

    Args:
      named: per chapter the numbers, from 1, of the paragraphs that open a scene; None for a chapter that the model was
        not asked about, which keeps the library's scenes.
    """
    explicit = explicit_openings(session.task.source)
    result = []
    for number, (draft, answer) in enumerate(zip(session.task.parts, named, strict=True)):
        library = _offsets(draft.scenes)
        starts = [start for start, scene in zip(library, draft.scenes, strict=True) if _opening(scene) in explicit]
        if answer is None:
            starts = library
        else:
            ends = [0, *(match.end() for match in _PARAGRAPH.finditer(draft.text))]
            chosen = answer if answer.value is None else Answer(tuple(ends[n - 1] for n in answer.value))
            starts += session.settle(chosen, f"chapters/{number}/scenes", partial(list, library))
        result.append(fit_scenes(_cut(draft.text, starts), most_scenes(session)))
    return result


def paragraphs_of(text: str) -> list[str]:
    """The paragraphs of a chapter, each with the blank line after it."""
    return _PARAGRAPH.findall(text)


def scene_openings(key: str, shown: range, words: int) -> QuestionField:
    """The field for the numbers, among those ``shown``, of the paragraphs that open a scene in ``words`` words."""
    says = f"the numbers of the paragraphs, from {shown[0]} to {shown[-1]}, that open a new scene, in rising order"
    most = max(1, min(len(shown), words // SCENE_LEAST, 24))
    return fields.numbers(key, says, shown[0], shown[-1], most)


def is_divisible(draft: Draft) -> bool:
    """Whether a chapter is long enough for two scenes."""
    return len(paragraphs_of(draft.text)) > 1 and draft.words >= 2 * SCENE_LEAST


def _offsets(parts: Sequence[str]) -> list[int]:
    offsets, place = [], 0
    for part in parts:
        offsets.append(place)
        place += len(part)
    return offsets


def _cut(text: str, starts: Sequence[int]) -> tuple[str, ...]:
    edges = sorted({0, *starts, len(text)})
    return tuple(text[a:b] for a, b in pairwise(edges))


def _plan(draft: Draft, session: AnnotationSession) -> list[tuple[range, AnnotationQuestion]]:
    """Windows over a chapter's numbered paragraphs: for each, the numbers that it decides about, and its question.

    Paragraphs that two windows share are divided between them, so that each is judged with text on both sides.
    """
    if not is_divisible(draft):
        return []
    paragraphs = paragraphs_of(draft.text)
    blank = _question(range(1, len(paragraphs) + 1), draft.words)
    room = session.room(blank)
    shown = [windows(paragraph.strip(), max(16, room // 8))[0] for paragraph in paragraphs]
    numbered = [f"[{number}] {text}" for number, text in enumerate(shown, 1)]
    spans, start = [], 0
    while True:
        end, words, size = start, 0, 0
        while end < len(numbered):
            words += count_words(numbered[end])
            size += tokens(numbered[end]) + 1
            if end > start and (words > WINDOW_WORDS or size > room):
                break
            end += 1
        spans.append((start, end))
        if end == len(numbered):
            break
        start = max(end - OVERLAP, start + 1)
    plan = []
    for index, (start, end) in enumerate(spans):
        first = (start + spans[index - 1][1]) // 2 + 1 if index else 2  # the first paragraph opens a scene anyway
        last = (spans[index + 1][0] + end) // 2 if index + 1 < len(spans) else end
        words = count_words(" ".join(paragraphs[start:end]))
        question = _question(range(start + 1, end + 1), words).about("\n".join(numbered[start:end]))
        plan.append((range(first, last + 1), question))
    return plan


def _question(shown: range, words: int) -> AnnotationQuestion:
    field = scene_openings("openings", shown, words)
    return AnnotationQuestion("scene boundaries", prompts.text("boundaries"), (field,), corrections=2)


def vectors_of(session: AnnotationSession, texts: Sequence[str]) -> list[Answer]:
    """A vector for every passage, from ``session.samples`` independent samples.

    A long passage is scored in windows, whose vectors are averaged by words.
    """
    ask = AnnotationQuestion(
        "embedding", prompts.text("scores"), (fields.scores("scores"),), corrections=0, temperature=session.temperature
    )
    cut = [windows(text, session.room(ask)) for text in texts]
    draws = [
        replace(ask.about(window), sample=sample)
        for group in cut
        for window in group
        for sample in range(session.samples)
    ]
    answers = iter(session.ask(draws))
    result = []
    for group in cut:
        drawn = [[next(answers)["scores"] for _ in range(session.samples)] for _ in group]
        usable = [[answer.value for answer in samples if answer.value is not None] for samples in drawn]
        if all(usable):
            result.append(Answer(combined(usable, [count_words(window) for window in group])))
        else:
            result.append(Answer(failure=next(a.failure for samples in drawn for a in samples if a.failure)))
    return result


def combined(samples: Sequence[Sequence[Vector]], weights: Sequence[int]) -> Vector:
    """One vector from the samples of successive windows.

    Per dimension: the mean of a window's samples, or their median if they are more than 30 apart; then the weighted
    mean of the windows. A mean below 10 becomes 0.
    """
    values = {}
    for name in DIMENSIONS:
        centres = [_centre([getattr(vector, name) for vector in window]) for window in samples]
        mean = sum(c * max(1, w) for c, w in zip(centres, weights, strict=True)) / sum(max(1, w) for w in weights)
        values[name] = 0 if mean < FLOOR else min(99, round(mean))
    return Vector(**values)


def _centre(values: Sequence[int]) -> float:
    return statistics.median(values) if max(values) - min(values) > WIDE else statistics.fmean(values)
