"""Rewords a note so that it repeats no 8-gram of the novel (trajectory specification 2.6).

Inside the repeated words, common words are replaced and adverbs dropped. If that does not help, the note is cut at a
phrase boundary.
"""

import re
from itertools import pairwise

from polaris_jax.scaffold.analysis.articles import article, is_wrong
from polaris_jax.scaffold.analysis.cutting import CUT_BEFORE, can_end, sound_end, tags_of_words
from polaris_jax.scaffold.analysis.lexicons import DETERMINERS, PREPOSITIONS, SUBJECT_PRONOUNS, word_set
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.tagging import possible_tags

MAX_CHARS = 280
_LEADING = word_set(
    "and but so then now well however thus yet for indeed still or therefore meanwhile besides nor moreover accordingly"
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
    "all": "",
    "own": "",
    "even": "",
    "indeed": "",
    "then": "",
    "still": "",
    "however": "",
    "near": "close to",
    "large": "big",
    "behind": "at the back of",
    "beneath": "under",
    "always": "ever",
    "another": "a further",
}
# Not replaced behind a determiner, where they are adjectives: ``a round face``, ``the only way``.
_BEFORE_NOUNS = word_set("round only near still even just then")


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
    line = re.sub(r",(?:\s*,)+", ",", " ".join(tokens)).rstrip(" ,;:-—–")
    if not 4 < len(line.split()) <= 45 or stats.copies(line) is not None:
        return None
    line = line[0].upper() + line[1:]
    return line + "." if len(line) < MAX_CHARS else None


def _with_articles(tokens: list[str]) -> list[str]:
    """Corrects ``a`` and ``an``, since dropping an adverb may have changed the word after them."""
    result = list(tokens)
    for index, (found, word) in enumerate(pairwise(tokens)):
        if found.lower() in ("a", "an") and is_wrong(found, word):
            result[index] = found[0] + article(word)[1:]
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
        before = tokens[index - 1].lower() if index else ""
        relative = word == "which" and before in PREPOSITIONS
        part_of_noun = word in _BEFORE_NOUNS and (before in DETERMINERS or before.endswith(("'s", "’s")))
        if word in _SWAPS and tokens[index].islower() and not relative and not part_of_noun:
            tail = "," if tokens[index].endswith(",") else ""
            swap = _SWAPS[word]
            if not swap and tail and index:
                return [*tokens[: index - 1], tokens[index - 1] + ",", *tokens[index + 1 :]]
            return [*tokens[:index], *([swap + tail] if swap else []), *tokens[index + 1 :]]
        if word.endswith("ly") and tokens[index].islower() and possible_tags(word) == {"AV0"}:
            return [*tokens[:index], *tokens[index + 1 :]]
    tagged = tags_of_words(tokens)
    for end in range(last, 4, -1):
        if (tokens[end].lower() in CUT_BEFORE or tokens[end - 1].endswith(",")) and can_end(tokens, end, tagged):
            return tokens[:end]
    return None


def _trim(tokens: list[str]) -> list[str]:
    """Drops what cannot begin or end a note: dangling function words, stray marks."""
    tokens = tokens[: sound_end(tokens)]
    comma = max((index for index, token in enumerate(tokens) if token.endswith(",")), default=-1)
    tail = tokens[comma + 1 :]
    if comma >= 4 and (len(tail) < 4 or tail[-1].endswith("ing")) and not (tail and tail[0] == "and"):
        tokens = [*tokens[:comma], tokens[comma].rstrip(",")]
        tokens = tokens[: sound_end(tokens)]
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
