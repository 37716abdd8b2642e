"""Counts the length of a text in any script. Requests, targets, rewards and benchmarks share this count.

Words are runs of letters and digits. Scripts without spaces between words are counted by character, as their readers
and LongWriter's official counter do. The trajectory language counts differently: it splits at white space.
"""

import html
import re
from collections.abc import Iterator
from itertools import pairwise

# Han, kana, bopomofo: lengths are requested in characters (字, 文字). Hangul has spaces between words.
_CHARACTER = r"\u3005-\u3007\u3040-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHARACTER += r"\uff66-\uff9d\U00020000-\U0003ffff"
# Vowel signs and accents (Mn, Mc) belong to their word; Python's \w leaves them out.
_MARK = (
    r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0903"
    r"\u093a-\u094f\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc-\u09cd\u0a01-\u0a03\u0a3c-\u0a51\u0a81-\u0a83\u0abc-\u0acd"
    r"\u0b01-\u0b03\u0b3c-\u0b57\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3e-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6\u0d00-\u0d03"
    r"\u0d3b-\u0d4d\u0d81-\u0d83\u0dca-\u0df3\u200c\u200d"
)
# Thai, Lao, Burmese, Khmer: no spaces between words, and no official counter; see ``LETTERS_PER_WORD``.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
LETTERS_PER_WORD = 4  # in Thai prose, signs not counted; an estimate, because only a dictionary can find the words
_TOKEN = re.compile(rf"[{_CHARACTER}]|[{_UNSPACED}]+|(?:(?![{_CHARACTER}{_UNSPACED}])[\w{_MARK}])+")
_CUT_INSIDE = re.compile(rf"[{_CHARACTER}{_UNSPACED}]")
_UNSPACED_RUN = re.compile(rf"[{_UNSPACED}]")
_ASCII_WORD = re.compile(r"\b[a-zA-Z]+\b")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_VISIBLE = re.compile(r"\S")
_RUN = re.compile(r"\S+")


def count_words(text: str) -> int:
    """Words of a text, HTML entities resolved: ``don't`` is two, ``灯塔`` is two, ``हिन्दी`` is one.

    Each Han character and kana counts as one; Thai, Lao, Burmese and Khmer count by letters (``LETTERS_PER_WORD``).
    """
    words = 0
    for match in _TOKEN.finditer(html.unescape(text)):
        token = match[0]
        if _UNSPACED_RUN.match(token):
            letters = sum(character.isalpha() for character in token)
            words += -(-letters // LETTERS_PER_WORD)
        else:
            words += any(character.isalnum() or character == "_" for character in token)
    return words


def word_pieces(text: str) -> Iterator[tuple[int, int, int]]:
    """The pieces at whose borders ``text`` can be cut: start, end and number of words (``count_words``) of each.

    A piece is what stands between spaces; in scripts without spaces, one counted token and the punctuation after it.
    """
    for run in _RUN.finditer(text):
        tokens = [run.start() + m.start() for m in _TOKEN.finditer(run[0])] if _CUT_INSIDE.search(run[0]) else []
        for start, end in pairwise([run.start(), *tokens[1:], run.end()]):
            yield start, end, count_words(text[start:end])


def count_longwriter(text: str) -> int:
    """Words as LongBench-Write's own scorer counts them: Chinese characters and runs of ASCII letters, nothing else.

    Source: ``count_words`` of LongWriter's evaluation (U+4E00 to U+9FFF, and ``\\b[a-zA-Z]+\\b``).
    """
    return len(_CHINESE.findall(text)) + len(_ASCII_WORD.findall(text))


def count_characters(text: str) -> int:
    """Visible characters: the unit of a request in ``characters`` (자, signs)."""
    return len(_VISIBLE.findall(html.unescape(text)))
