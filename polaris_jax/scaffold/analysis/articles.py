"""The indefinite article that a word takes."""

import re
from functools import lru_cache

import inflect

_ARTICLE = re.compile(r"\b(an?) ([\w’'-]+)", re.I)


@lru_cache(maxsize=1)
def _engine() -> inflect.engine:
    return inflect.engine()


@lru_cache(maxsize=1 << 16)
def article(word: str) -> str:
    """``a`` or ``an``, by the sound of the word's beginning."""
    return _engine().a(word.replace("’", "'")).split()[0]


def is_wrong(found: str, word: str) -> bool:
    """Whether ``word`` takes the other article than ``found``; both are right before an unstressed h (*an hotel*)."""
    return found.lower() != article(word) and not (found.lower() == "an" and word[:1] in "hH")


def wrong_articles(text: str) -> list[str]:
    """Every wrong article of a text with the word behind it."""
    return [match.group() for match in _ARTICLE.finditer(text) if is_wrong(match.group(1), match.group(2))]
