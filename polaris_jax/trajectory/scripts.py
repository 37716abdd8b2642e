"""The characters of books, by script.

A writer's alphabet is Latin, Greek and Cyrillic, plus the scripts below that its profile names. Alphabets have only
characters that normal form C leaves unchanged. In scripts with marks after a letter (Arabic, Hebrew), several marks are
put into their normal order when a text is accepted.
"""

from dataclasses import dataclass
from functools import cache

from polaris_jax.errors import InputError
from polaris_jax.trajectory.charset import CharSet

# Latin, Greek and Cyrillic letters, punctuation, currency: none of them combines with a neighbour.
BASE = CharSet.of(
    (" ", ";"),
    ("=", "~"),
    ("\xa1", "\xac"),
    ("\xae", "\u02ff"),
    ("\u0391", "\u03a1"),
    ("\u03a3", "\u03ce"),
    ("\u0400", "\u045f"),
    ("\u1e00", "\u1eff"),
    ("\u2010", "\u2027"),
    ("\u2030", "\u205e"),
    ("\u20a0", "\u20bf"),
    "\u2116\u2122",
)
# Scripts without blanks between words: their length is counted in characters.
HAN_AND_KANA = CharSet.of(
    ("\u3041", "\u3096"),
    ("\u30a1", "\u30fa"),
    ("\u30fc", "\u30ff"),
    ("\u3400", "\u4dbf"),
    ("\u4e00", "\u9fff"),
    ("\U00020000", "\U0002a6df"),
    "\u3005\u3006\u3007",
)


NONE = CharSet(())


@dataclass(frozen=True)
class Script:
    """What a script adds to the alphabet.

    Attributes:
      letters: characters of words, including digits and marks inside words.
      marks: punctuation and symbols.
      opening: the marks that stand before a word.
    """

    letters: CharSet
    marks: CharSet
    opening: CharSet = NONE


SCRIPTS = {
    "cjk": Script(
        HAN_AND_KANA
        | CharSet.of(("\uac00", "\ud7a3"), ("\uff10", "\uff19"), ("\uff21", "\uff3a"), ("\uff41", "\uff5a")),
        CharSet.of(
            ("\u3001", "\u3003"), ("\u3008", "\u3011"), ("\u3014", "\u301b"), "\u301c\u30fb", "\uff01\uff05\uff08"
        )
        | CharSet.of("\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff5e"),
        CharSet.of("\u3008\u300a\u300c\u300e\u3010\u3014\u3016\u3018\u301a\uff08"),
    ),
    "arabic": Script(
        CharSet.of(("\u0620", "\u0652"), ("\u0660", "\u0669"), "\u0670", ("\u0671", "\u06d3"), "\u06d5")
        | CharSet.of(("\u06f0", "\u06f9"), "\u200c"),
        CharSet.of("\u060c\u061b\u061f\u066a\u066b\u066c\u06d4"),
    ),
    "hebrew": Script(
        CharSet.of(("\u05b0", "\u05bc"), "\u05be\u05c1\u05c2", ("\u05d0", "\u05ea"), ("\u05f0", "\u05f4")),
        CharSet(()),
    ),
    "emoji": Script(
        CharSet(()),
        CharSet.of(("\u2600", "\u27bf"), ("\U0001f300", "\U0001f64f"), ("\U0001f680", "\U0001f6ff"), "\u200d\ufe0f")
        | CharSet.of(("\U0001f900", "\U0001f9ff"), ("\U0001fa70", "\U0001faff")),
    ),
}
Scripts = tuple[str, ...]


def check_scripts(scripts: Scripts) -> None:
    """Raises ``InputError`` if a script is unknown."""
    for name in scripts:
        if name not in SCRIPTS:
            raise InputError("profile.scripts", name, f"use some of {', '.join(SCRIPTS)}")


@cache
def alphabet(scripts: Scripts) -> CharSet:
    """All characters of a text."""
    found = BASE
    for name in scripts:
        found = found | SCRIPTS[name].letters | SCRIPTS[name].marks
    return found


@cache
def letters(scripts: Scripts) -> CharSet:
    """The letters that ``scripts`` add."""
    found = CharSet(())
    for name in scripts:
        found = found | SCRIPTS[name].letters
    return found


@cache
def marks(scripts: Scripts) -> CharSet:
    """The punctuation that ``scripts`` add."""
    found = CharSet(())
    for name in scripts:
        found = found | SCRIPTS[name].marks
    return found


def bytes_per_character(scripts: Scripts) -> int:
    """Most bytes of a character in UTF-8, a bound on its tokens: no tokenizer needs more tokens than bytes."""
    return max(len(chr(high).encode()) for _, high in alphabet(scripts).ranges)


def scripts_of(text: str) -> Scripts:
    """The ``SCRIPTS`` that ``text`` uses."""
    own = {name: (script.letters | script.marks) for name, script in SCRIPTS.items()}
    return tuple(name for name, chars in own.items() if any(char in chars and char not in BASE for char in text))


def unknown_letters(text: str) -> str:
    """Letters of a text that belong to none of the scripts, each once, in order."""
    known = alphabet(tuple(SCRIPTS))
    return "".join(dict.fromkeys(char for char in text if char.isalpha() and char not in known))
