"""Rewords a note so that it repeats no 8-gram of the novel (trajectory specification 2.6).

Inside the repeated words, common words are replaced and adverbs dropped. If that does not help, the note is cut at a
phrase boundary.
"""

import re
from itertools import pairwise

from polaris_jax.scaffold.analysis.lexicons import (
    ADVERBS,
    CONJUNCTIONS,
    DETERMINERS,
    PREPOSITIONS,
    SUBJECT_PRONOUNS,
    word_set,
)
from polaris_jax.scaffold.analysis.novel_stats import NovelStats

MAX_CHARS = 280
_VOWEL = re.compile(r"(?!one\b|once\b|ones\b|uni(?!n|m)|us[aeu]|ut[eio]|eu|ew|ub|ur[aeio]n)[aeiou]", re.I)
_CONSONANT = re.compile(r"[bcdfgjklmnpqrstvwyz][a-z]|one\b|once\b|uni(?!n|m)|us[aeu]|eu|ew", re.I)
_LEADING = word_set(
    "and but so then now well however thus yet for indeed still or therefore meanwhile besides nor moreover accordingly"
)
CUT_BEFORE = (PREPOSITIONS | CONJUNCTIONS) - word_set(
    "of than that like past near round down off out up over while for so"
)
_SWAPS = {
    "upon": "on",
    "which": "that",
    "till": "until",
    "towards": "toward",
    "great": "large",
    "big": "large",
    "presently": "soon",
    "perhaps": "maybe",
    "nearly": "almost",
    "began": "started",
    "quite": "",
    "very": "",
    "rather": "",
    "again": "once more",
    "round": "around",
    "just": "",
    "only": "merely",
    "also": "too",
    "beside": "next to",
    "among": "amid",
    "amongst": "amid",
    "immediately": "at once",
    "enough": "sufficiently",
    "all": "",
    "own": "",
    "even": "",
    "indeed": "",
    "then": "",
    "still": "",
    "however": "",
    "about": "around",
    "near": "close to",
    "large": "big",
    "behind": "at the back of",
    "beneath": "under",
    "always": "ever",
    "another": "a further",
}
# Not replaced behind a determiner, where they are adjectives: ``a round face``, ``the only way``.
_BEFORE_NOUNS = word_set("round only near still even just then about")
_LOOSE_END = (
    PREPOSITIONS
    | CONJUNCTIONS
    | DETERMINERS
    | (ADVERBS - word_set("away back together again there here home well soon already"))
    | word_set(
        "who whom whose which what is are was were be been has have had will can would could may might must shall "
        "should do does did he she they we i it's mr mrs very"
    )
) - word_set("her this that up down off out over in on round")


def original(text: str, stats: NovelStats) -> str | None:
    """``text``, reworded or cut until it shares no 8-gram with the novel; None if fewer than five words remain."""
    tokens = _trim(text.split())
    for _ in range(40):
        hit = stats.copies(" ".join(tokens))
        if hit is None:
            break
        shorter = _break_copy(tokens, hit)
        if shorter is None:
            return None
        tokens = shorter
    else:
        return None
    tokens = _with_articles(_trim(tokens))
    line = " ".join(tokens).rstrip(" ,;:-—–")
    if not 4 < len(line.split()) <= 45 or stats.copies(line) is not None:
        return None
    line = line[0].upper() + line[1:]
    return line + "." if len(line) < MAX_CHARS else None


def _with_articles(tokens: list[str]) -> list[str]:
    """Corrects ``a`` and ``an``, since dropping an adverb may have changed the word after them.

    ``an`` before an ``h`` stays: older books write ``an hotel``.
    """
    result = list(tokens)
    for index, (article, word) in enumerate(pairwise(tokens)):
        if article.lower() == "a" and _VOWEL.match(word):
            result[index] = article + "n"
        elif article.lower() == "an" and _CONSONANT.match(word):
            result[index] = article[:1]
    return result


def _break_copy(tokens: list[str], hit: int) -> list[str] | None:
    """Changes one word inside the 8-gram that ends at fine word ``hit``; else cuts the note inside the 8-gram."""
    position, last = -1, len(tokens) - 1
    for index, token in enumerate(tokens):
        position += len(re.findall(r"[^\W_]+", token))
        if position >= hit:
            last = index
            break
    first = max(0, last - 7)
    for index in range(last, first, -1):
        word = tokens[index].lower().strip(",.")
        relative = word == "which" and index and tokens[index - 1].lower() in PREPOSITIONS
        part_of_noun = word in _BEFORE_NOUNS and index and tokens[index - 1].lower() in DETERMINERS
        if word in _SWAPS and tokens[index].islower() and not relative and not part_of_noun:
            tail = "," if tokens[index].endswith(",") else ""
            swap = _SWAPS[word]
            if not swap and tail and index:
                return [*tokens[: index - 1], tokens[index - 1] + ",", *tokens[index + 1 :]]
            return [*tokens[:index], *([swap + tail] if swap else []), *tokens[index + 1 :]]
        if (
            word.endswith("ly")
            and len(word) > 5
            and tokens[index].islower()
            and word not in ("family", "early", "lonely", "reply")
        ):
            return [*tokens[:index], *tokens[index + 1 :]]
    for end in range(last, 4, -1):
        if tokens[end].lower() in CUT_BEFORE or tokens[end - 1].endswith(","):
            return tokens[:end]
    return None


def _trim(tokens: list[str]) -> list[str]:
    """Drops what cannot begin or end a note: dangling function words, stray marks."""
    while tokens and (tokens[-1].lower().strip(",.;:") in _LOOSE_END or not re.search(r"\w", tokens[-1])):
        tokens = tokens[:-1]
    comma = max((index for index, token in enumerate(tokens) if token.endswith(",")), default=-1)
    tail = tokens[comma + 1 :]
    if comma >= 4 and (len(tail) < 4 or tail[-1].endswith("ing")) and not (tail and tail[0] == "and"):
        tokens = [*tokens[:comma], tokens[comma].rstrip(",")]
    while tokens and not re.search(r"\w", tokens[0]):
        tokens = tokens[1:]
    return drop_leading(tokens)


def drop_leading(tokens: list[str]) -> list[str]:
    """The words without leading connectives to the sentence before."""
    while len(tokens) > 1 and tokens[0].lower().strip(",") in _LEADING:
        if tokens[0].lower() in ("for", "so") and tokens[1].lower() not in SUBJECT_PRONOUNS:
            break
        tokens = tokens[1:]
    return tokens
