"""Checks that notes are true to the book: unknown names, and lines copied from the prose (specification 2.6)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polaris_jax.scaffold.analysis.lexicons import FUNCTION_WORDS, NOT_NAMES, TITLES
from polaris_jax.scaffold.analysis.names import bare
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.rewording import original
from polaris_jax.scaffold.analysis.sentences import WORD
from polaris_jax.scaffold.llm.question import Issues

_OPENS = re.compile(r"(?:^|[.!?:]['\"”’)]*\s+|[“\"‘(]\s*)$")
_ORDINARY = FUNCTION_WORDS | NOT_NAMES | TITLES
# Forms that begin many sentences, but hardly any name.
_PLAIN = re.compile(
    r"(?:ly|ing|ed|ness|[ts]ion|ment|ity|ence|ance|ship|hood|ism|while|wards?|ever)$"
    r"|^(?:some|any|every|no)(?:body|one|thing)$"
)


def text_words(text: str) -> frozenset[str]:
    """The words of a text as written, without possessive endings; hyphenated words are split. Names consist of them."""
    return frozenset(bare(word) for word in WORD.findall(text))


@dataclass(frozen=True)
class FaithfulnessChecker:
    """Checks notes on a passage against the passage.

    Attributes:
      stats: measurements of the novel, whose 8-grams must not be copied.
      words: words of the passage and of the cards before it; None: names are not checked.
    """

    stats: NovelStats
    words: frozenset[str] | None = None

    def unknown(self, line: str, titled: bool = False) -> list[str]:
        """Capitalised names in ``line`` that the passage does not have.

        A word that opens a sentence is a name if it looks like one: a possessive ending, another name or a verb in the
        third person follows, and the book never writes the word in lower case. In a ``titled`` line every word is
        capitalised, so only words that are names in this novel count.
        """
        if self.words is None:
            return []
        found: list[str] = []
        matches = list(WORD.finditer(line))
        for index, match in enumerate(matches):
            word = bare(match.group())
            if not word[0].isupper() or len(word) < 2 or word.lower() in _ORDINARY:
                continue
            if word in self.words or word.upper() in self.words:
                continue
            if titled:
                if word in self.stats.name_parts:
                    found.append(word)
            elif not _OPENS.search(line[: match.start()]) or self._subject(match.group(), matches[index + 1 :]):
                found.append(word)
        return found

    def _subject(self, word: str, after: Sequence[re.Match]) -> bool:
        lower = bare(word).lower()
        # "Walks" is not a name in a book that has "walked"
        bases = {lower, lower[:-1], lower[:-1] + "d", lower[:-1] + "ed", lower[:-2] + "ed"}
        if not (bases if lower.endswith("s") else {lower}).isdisjoint(self.stats.vocabulary) or _PLAIN.search(lower):
            return False
        if word != bare(word):
            return True
        following = after[0].group() if after else ""
        if following[:1].isupper():
            return True
        return following.endswith("s") and (following not in FUNCTION_WORDS or following in ("is", "has", "was"))

    def issues(self, lines: Iterable[str], titled: bool = False) -> Issues:
        """What is unfaithful in ``lines``."""
        lines = list(lines)
        names = dict.fromkeys(name for line in lines for name in self.unknown(line, titled))
        return Issues(tuple(names), tuple(line for line in lines if self.stats.copies(line) is not None))

    def repair(self, lines: Iterable[str]) -> tuple[str, ...] | None:
        """The lines without unknown names; copied lines are reworded or cut. None if no line is left."""
        kept: list[str] = []
        for line in lines:
            if self.unknown(line):
                continue
            copied = self.stats.copies(line) is not None
            reworded = original(line.rstrip(". "), self.stats) if copied else line
            if reworded and not self.unknown(reworded):
                kept.append(reworded)
        return tuple(kept) or None
