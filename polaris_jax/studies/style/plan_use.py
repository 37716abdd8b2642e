"""Prose compared with its own plan: does it follow the plan, or merely repeat it?

Only stories with a ``Book`` have these values. The summary-artefact index shows whether prose is expanded from its
scene bullets: the share of the bullets' word pairs (content words, stemmed) that the chapter's prose repeats, minus the
same share for another chapter's prose, which removes the effect of the book's names and subject.
"""

import itertools
import math
import re
from collections.abc import Sequence

from polaris_jax.scaffold.analysis.lexicons import FUNCTION_WORDS, stem
from polaris_jax.scaffold.analysis.sentences import words
from polaris_jax.studies.style.stories import Story, plain
from polaris_jax.trajectory import Chapter, count_words

_NAME = re.compile(r"(?<![.!?:;\"“‘]\s)(?<!^)(?<!- )\b[A-Z][a-z]+(?:[-'][A-Z]?[a-z]+)?\b", re.M)


def bullets(chapter: Chapter) -> tuple[str, ...]:
    """The plan's events: chapter summary and scene summaries."""
    return (*chapter.summary, *(line for scene in chapter.scenes for line in scene.summary))


def pairs(text: str) -> set[tuple[str, str]]:
    """Neighbouring content words of each sentence or line, stemmed, in order."""
    found: set[tuple[str, str]] = set()
    for line in re.split(r"[.!?;\n]+", plain(text)):
        content = [stem(word) for word in words(line) if word not in FUNCTION_WORDS]
        found.update(itertools.pairwise(content))
    return found


def artefact_index(story: Story) -> float:
    """Share of its own plan's word pairs that the prose repeats, minus the share that other chapters' prose repeats.

    NaN without a plan, or where the book has no second chapter to compare with.
    """
    if story.book is None:
        return math.nan
    planned = pairs("\n".join(bullets(story.book.chapters[story.chapter])))
    others = [c.text for i, c in enumerate(story.book.chapters) if i != story.chapter and c.text.strip()]
    if not planned or not others:
        return math.nan
    size = len(story.text.split())
    # The other prose is cut to the same length: a longer text has more pairs by chance.
    chance = [len(planned & pairs(" ".join(text.split()[:size]))) for text in others]
    return (len(planned & pairs(story.text)) - sum(chance) / len(chance)) / len(planned)


def word_count_error(story: Story) -> float:
    """``|log2(words written / words planned)|`` of the chapter: 1 is twice or half as long. NaN without a plan."""
    if story.book is None:
        return math.nan
    planned = story.book.chapters[story.chapter].word_count
    return abs(math.log2(max(1, count_words(story.text)) / max(1, planned)))


def names_kept(story: Story) -> float:
    """Share of the names in the chapter's plan that its prose mentions. NaN without a plan or without names."""
    if story.book is None:
        return math.nan
    planned = planned_names(bullets(story.book.chapters[story.chapter]))
    if not planned:
        return math.nan
    written = {word.replace("’", "'") for word in words(story.text)}
    return sum(name in written or f"{name}'s" in written for name in planned) / len(planned)


def planned_names(lines: Sequence[str]) -> set[str]:
    """Capitalised words in the lines, except at the beginning of a sentence."""
    return {name for line in lines for name in _NAME.findall(line) if name.lower() not in FUNCTION_WORDS}
