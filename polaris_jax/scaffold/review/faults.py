"""Plants faults of known kinds into bullets; a judge of plans is measured by them."""

import random
import re
from collections.abc import Sequence

from polaris_jax.scaffold.analysis.novel_stats import NovelStats

KINDS = ("referent", "gender", "negation", "other book", "duplicate")
_TURNED = {
    "he": "she",
    "she": "he",
    "him": "her",
    "his": "her",
    "himself": "herself",
    "herself": "himself",
    "hers": "his",
}
_PRONOUN = re.compile(r"\b(?:he|she|him|his|her|himself|herself|hers)\b", re.I)
_COPULA = re.compile(r"\b(?:is|are|has|have|can|will|must|may)\b(?! not\b)")
_NEGATIVE = re.compile(r"\b(?:not|never|no)\b ?")
_THIRD = re.compile(r"\b([a-z]{2,}[^s\W])(e?s)\b")


def plant(
    kind: str,
    line: str,
    scene: str,
    stats: NovelStats,
    rng: random.Random,
    elsewhere: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> str | None:
    """The bullet with one fault of a kind, or None if it cannot have that fault.

    Args:
      kind: one of ``KINDS``: a name is replaced by another person's, pronouns change gender, the verb is negated (or a
        negation removed), a bullet of another book, a copy of another bullet of the card.
      scene: the prose that the bullet is about.
      stats: measurements of the novel.
      elsewhere: bullets of other books.
      beside: the other bullets of the card.
    """
    if kind == "referent":
        return _other_person(line, scene, stats, rng)
    if kind == "gender":
        return _other_gender(line)
    if kind == "negation":
        return _negated(line, stats)
    pool = elsewhere if kind == "other book" else beside
    return rng.choice(list(pool)) if pool else None


def _other_person(line: str, scene: str, stats: NovelStats, rng: random.Random) -> str | None:
    """The line with one name replaced by that of another person in the scene."""
    named = [(entity, start, end) for entity, start, end in stats.mentions(line) if entity.person]
    here = sorted((entity for entity in stats.mentioned(scene) if entity.person), key=lambda e: e.aliases)
    in_line = {entity for entity, _, _ in named}
    forms = [form for entity in here if entity not in in_line and (form := entity.form_in(scene, full=False))]
    if not named or not forms:
        return None
    _, start, end = rng.choice(named)
    return line[:start] + rng.choice(forms) + line[end:]


def _other_gender(line: str) -> str | None:
    def turned(match: re.Match) -> str:
        word, after = match.group(), line[match.end() :].lstrip()[:1]
        new = _TURNED.get(word.lower()) or ("his" if after.isalpha() else "him")
        return new.capitalize() if word[0].isupper() else new

    changed = _PRONOUN.sub(turned, line)
    return changed if changed != line else None


def _negated(line: str, stats: NovelStats) -> str | None:
    """The line without its first negation, or else with its first verb negated."""
    if "“" in line:
        return None
    if _NEGATIVE.search(line):
        return _NEGATIVE.sub("", line, count=1)
    if match := _COPULA.search(line):
        return f"{line[: match.end()]} not{line[match.end() :]}"
    for match in _THIRD.finditer(line):
        base = match.group(1) + ("e" if match.group(2) == "es" and match.group(1) + "e" in stats.vocabulary else "")
        if {base + "ed", base + "d"} & stats.vocabulary and base in stats.vocabulary:
            return f"{line[: match.start()]}does not {base}{line[match.end() :]}"
    return None
