"""Writes the requests and reasoning of prompt-story pairs, only from the plan's cards, never from the prose."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from polaris_jax.rewards.word_count import count_words
from polaris_jax.trajectory import Book, Scene

_PEOPLE = 4  # most people that a request names
_ROUND = 100  # target lengths are multiples of this many words


def target_words(story: str) -> int:
    """The requested length: that of the story, rounded to hundreds."""
    return max(_ROUND, round(count_words(story) / _ROUND) * _ROUND)


def length_request(target: int) -> str:
    """The last sentence of every request; the length reward reads it."""
    return f"Your story should be approximately {target} words long."


def digest(author: str, title: str, story: str) -> str:
    """Hash of a story, hex; a repeated story gives one pair."""
    return hashlib.sha256(f"{author}\0{title}\0{story}".encode()).hexdigest()


def slug(path: str) -> str:
    """The name of a book's file, as the beginning of a uid."""
    return re.sub(r"[^a-z0-9]+", "-", Path(path).stem.lower()).strip("-")


def people(book: Book, story: str) -> list[str]:
    """The book's people that the story names, main characters first."""
    names = [person.name for person in (*book.main_characters, *book.side_characters)]
    named = [name for name in names if any(len(word) > 3 and word in story for word in name.split()[-1:])]
    return named[:_PEOPLE]


def reasoning(book: Book, scenes: Sequence[Scene], named: list[str], target: int) -> str:
    """The plan of some scenes, written as a writer's notes."""
    lines = [f"The request is for about {target} words."]
    if named:
        lines.append(f"People: {listed(named)}.")
    lines += [f"Manner: {line}" for line in book.writing_style[:2]]
    for number, scene in enumerate(scenes, 1):
        lines.append(f"\nScene {number}: {scene.name}, about {scene.word_count} words. {scene.perspective}.")
        lines += [f"- {bullet}" for bullet in scene.summary]
    return "\n".join(lines)


def sentence(line: str) -> str:
    """The line with a full stop, unless it ends in a question or exclamation mark."""
    return line.rstrip(" .") + "." if line.rstrip(" .")[-1:] not in "!?" else line.rstrip(" .")


def listed(names: Sequence[str]) -> str:
    """``A, B and C``."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}" if names else ""
