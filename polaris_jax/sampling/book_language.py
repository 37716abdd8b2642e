"""The language of a book, as EPUB readers want it for hyphenation, fonts and reading aloud."""

import re
from collections import Counter

from polaris_jax.library.language import sample_languages

UNKNOWN = "und"  # BCP 47: undetermined
RIGHT_TO_LEFT = frozenset(("ar", "fa", "he", "ur"))
_LATIN = {
    "English": "en",
    "French": "fr",
    "German": "de",
    "Spanish": "es",
    "Italian": "it",
    "Portuguese": "pt",
    "Dutch": "nl",
    "Latin": "la",
    "Finnish": "fi",
    "Swedish": "sv",
    "Danish": "da",
    "Polish": "pl",
    "Hungarian": "hu",
    "Esperanto": "eo",
    "Tagalog": "tl",
    "Catalan": "ca",
    "Romanian": "ro",
    "Czech": "cs",
    "Welsh": "cy",
}
# Script of a letter → its language, unless letters of ``_TELLING`` are found.
_SCRIPTS = (
    ("ja", re.compile(r"[\u3041-\u30ff]")),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")),
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("ar", re.compile(r"[\u0620-\u06ff]")),
    ("he", re.compile(r"[\u05d0-\u05ea]")),
    ("ru", re.compile(r"[\u0400-\u045f]")),
    ("el", re.compile(r"[\u0391-\u03ce]")),
)
_LETTER = re.compile(r"[^\W\d_]")
_TELLING = {
    "ar": (("ur", "\u0679\u0688\u0691\u06d2"), ("fa", "\u067e\u0686\u0698\u06af")),
    "ru": (("uk", "\u0456\u0457\u0454\u0491"),),
}
_TELLING_SHARE = 0.005  # least share of the letters; a few foreign names have less
_KANA_SHARE = 0.1  # least share in Japanese, whose prose has half; a Chinese book may quote a word


def book_language(text: str) -> str:
    """BCP 47 tag of the language of most of ``text``; ``UNKNOWN`` if it cannot be determined."""
    letters = len(_LETTER.findall(text))
    counts = {language: len(script.findall(text)) for language, script in _SCRIPTS}
    if counts["ja"] > _KANA_SHARE * (counts["ja"] + counts["zh"]):
        counts["ja"], counts["zh"] = counts["ja"] + counts["zh"], 0
    language, most = max(counts.items(), key=lambda pair: pair[1])
    if not letters or 2 * most <= letters:
        names = Counter(sample_languages(text))
        return _LATIN.get(names.most_common(1)[0][0], UNKNOWN)
    for other, telling in _TELLING.get(language, ()):
        if sum(text.count(letter) for letter in telling) > _TELLING_SHARE * most:
            return other
    return language
