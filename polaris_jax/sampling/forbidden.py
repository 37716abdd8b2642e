"""Phrases that a book must not contain."""

import re
from collections.abc import Sequence
from functools import cached_property

from polaris_jax.trajectory import stages

# The fixed words of a stage: a phrase inside them was not written by the model.
_MARKUP = re.compile(
    r"^(?:" + "|".join(re.escape(header) for header in stages.HEADERS) + r")$|\*\*[A-Z][A-Za-z ]+:\*\*"
    r"|^action: \d+, dialog: .*$",
    re.MULTILINE,
)
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


class ForbiddenPhrases:
    """A list of phrases, matched as whole words, in any case and with any white space.

    In scripts without spaces a phrase is matched anywhere.
    """

    def __init__(self, phrases: Sequence[str]):
        self._phrases = [phrase.split() for phrase in phrases if phrase.strip()]

    @cached_property
    def _pattern(self) -> re.Pattern | None:
        if not self._phrases:
            return None
        return re.compile("|".join(map(_pattern, self._phrases)), re.IGNORECASE)

    def first(self, text: str) -> tuple[int, str] | None:
        """Where the first phrase begins, and how the text spells it; None when there is none."""
        found = self._pattern.search(text) if self._pattern else None
        return (found.start(), found[0]) if found else None

    def first_in_stage(self, text: str) -> str | None:
        """The first phrase in the text of a step, outside its fixed words."""
        found = self.first(_MARKUP.sub(" ", text))
        return found[1] if found else None


def _pattern(words: Sequence[str]) -> str:
    body = r"\s+".join(re.escape(word) for word in words)
    before, after = words[0][0], words[-1][-1]
    left = r"\b" if before.isalnum() and not _UNSPACED.match(before) else ""
    right = r"\b" if after.isalnum() and not _UNSPACED.match(after) else ""
    return f"{left}{body}{right}"
