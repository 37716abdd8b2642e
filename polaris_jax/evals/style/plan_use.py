"""Prose against its own plan: does it keep to it, and does it merely say it again?

Only stories that come with a ``Book`` have these values. The summary-artefact index asks whether prose is spun out of
its scene bullets: the share of the bullets' word pairs (content words, stemmed) that the chapter's prose repeats, less
the same share for another chapter's prose, which removes what the book's names and subject explain by themselves.
"""

import itertools
import math
import re
from collections.abc import Sequence

from polaris_jax.evals.style.stories import Story, plain
from polaris_jax.scaffold.lexicons import FUNCTION_WORDS, stem
from polaris_jax.scaffold.sentences import words
from polaris_jax.trajectory import Chapter, count_words

_NAME = re.compile(r"(?<![.!?:;\"“‘]\s)(?<!^)(?<!- )\b[A-Z][a-z]+(?:[-'][A-Z]?[a-z]+)?\b", re.M)


def bullets(chapter: Chapter) -> tuple[str, ...]:
    """What the plan says will happen: chapter summary and scene summaries."""
    return (*chapter.summary, *(line for scene in chapter.scenes for line in scene.summary))


def pairs(text: str) -> set[tuple[str, str]]:
    """Neighbouring content words of each sentence or line, stemmed, in order."""
    found = set()
    for line in re.split(r"[.!?;\n]+", plain(text)):
        content = [stem(word) for word in words(line) if word not in FUNCTION_WORDS]
        found.update(itertools.pairwise(content))
    return found


def artefact_index(story: Story) -> float:
    """How much more of its own plan than another chapter's prose repeats it, in shares of the plan's word pairs.

    NaN without a plan, or where the book has no second chapter to compare with.
    """
    if story.book is None:
        return math.nan
    planned = pairs("\n".join(bullets(story.book.chapters[story.chapter])))
    others = [c.text for i, c in enumerate(story.book.chapters) if i != story.chapter and c.text.strip()]
    if not planned or not others:
        return math.nan
    size = len(story.text.split())
    # The other prose is cut to the same length: a longer text hits more pairs by chance.
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
    said = set(words(story.text))
    return sum(name in said or f"{name}'s" in said for name in planned) / len(planned)


def planned_names(lines: Sequence[str]) -> set[str]:
    """Capitalised words inside the lines, but not where a sentence begins."""
    return {name for line in lines for name in _NAME.findall(line) if name.lower() not in FUNCTION_WORDS}
