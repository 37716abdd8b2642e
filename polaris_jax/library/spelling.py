"""How a book spells its words: the evidence for repairing what typesetting broke.

A word cut at a line end, a drop capital with a space after it, and an opening in small capitals can all be read in
several ways. The book uses most of its words more than once, so its other uses decide.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property

from polaris_jax.library.blocks import Block
from polaris_jax.library.headings import roman_value

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+")
# Prefixes and suffixes that are not words of their own before or after a hyphen.
_PREFIXES = re.compile(
    "a[bcdflnpst]|be|com?n?|de|di[fs]|e|e[mnsx]|for|i[mnr]|mis|of|on|or|per|pr[eo]|pur|re|so|su[bcpr]?|trans|un"
)
_SUFFIXES = re.compile(
    "able|age|ally?|an|an[ct]e?|ate|ary|cy|dom|ed|en[ct]e?|ere?d?|ering|ers|ery|est|ful(?:ly)?|hood|ible|ic|ical|"
    "ies|ings?|ingly|ion|ish|is[mt]|ity|ive|less|lessly|ly|ments?|ness|ory?|ous|ously|[st]ions?|some|ted|ters?|ther|"
    "ting|ty|wards?"
)


class Spelling:
    """The words of a book, counted at the first request.

    Args:
      blocks: the book; their lines are read, never changed.
    """

    def __init__(self, blocks: Iterable[Block] = ()):
        self._blocks = blocks

    @cached_property
    def _forms(self) -> Counter[str]:
        """Words as written, without the halves of words cut at line ends."""
        forms: Counter[str] = Counter()
        for block in self._blocks:
            cut = False
            for line in block.lines:
                words = _WORD.findall(line)
                forms.update(words[1:] if cut else words)
                cut = line.rstrip()[-1:] in ("-", "‐", "\xad", "¬") and len(words) > 0
                if cut:
                    forms[words[-1]] -= 1
        return forms

    @cached_property
    def _lower(self) -> Counter[str]:
        lower: Counter[str] = Counter()
        for form, count in self._forms.items():
            lower[form.lower()] += count
        return lower

    @cached_property
    def _compounds(self) -> Counter[str]:
        lines = (line.lower() for block in self._blocks for line in block.lines if "-" in line)
        return Counter(word for line in lines for word in _COMPOUND.findall(line))

    def joins(self, left: str, right: str) -> bool:
        """Whether a word cut into these two at a line end is one word; else its hyphen stays.

        The more frequent spelling elsewhere in the book decides. If the book has neither, two words that also occur
        alone make a compound, unless one of them is only a prefix or suffix.
        """
        if right[:1].isupper() and not (left.isupper() and right.isupper()):
            return False  # "Anglo-Saxon"
        one, other = left.lower(), right.lower()
        whole, compound = self._lower[one + other], self._compounds[f"{one}-{other}"]
        if whole or compound:
            return whole >= compound
        if _PREFIXES.fullmatch(one) or _SUFFIXES.fullmatch(other):
            return True
        return not (self._lower[one] > 0 and self._lower[other] > 0)

    def is_capital_cut_off(self, letter: str, rest: str) -> bool:
        """Whether ``letter`` and ``rest``, printed apart ("T he"), are one word of the book."""
        whole = (letter + rest).lower()
        return self._lower[whole] > 0 and self._lower[whole] >= self._lower[rest.lower()]

    def in_small_letters(self, word: str) -> str:
        """A word printed in capitals as the book writes it elsewhere; names and numerals keep their capitals."""
        lower, title = self._forms[word.lower()], self._forms[word.capitalize()]
        if word in ("I", "O") or (roman_value(word) is not None and not lower):
            return word
        if not lower and not title:
            return word.capitalize()
        return word.lower() if lower >= title else word.capitalize()
