"""Applies the grammar's limits to an annotator's answers (trajectory specification 4.4)."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from polaris_jax.trajectory import Described

MAX_BULLET, MAX_NAME, MAX_FOCUS, MAX_PERSPECTIVE = 300, 120, 65, 200
_LETTER = "A-Za-z0-9À-ÖØ-öø-ÿĀ-ſ"
_PUNCTUATION = "&'\"`´/().,:;!?+—–“”‘’…-"
_PAD = (
    "These lines were drawn from the text itself, by counting its words and by shortening its sentences.",
    "They hold names, places, words and numbers that stand in the text, and leave out what only a reader could say.",
    "What kind of story it is, what it means and what moves its people is for the text to tell.",
    "The chapters follow in the order of the text, each with its scenes, its people and the words they say.",
)


def one_line(text: str, most: int) -> str:
    """A single clean line of at most ``most`` characters that cannot be mistaken for markup."""
    text = unicodedata.normalize("NFC", text).replace("<|", "< |").replace("```", "'''")
    text = (
        " ".join("".join(c if unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text).split())
        .lstrip("#")
        .strip()
    )
    if len(text) > most:
        text = text[:most].rsplit(" ", 1)[0].strip() or text[:most]
    return text


def bullets(lines: Iterable[str], most: int, fallback: str) -> tuple[str, ...]:
    """Between one and ``most`` valid bullets, without repetitions."""
    kept = dict.fromkeys(line for text in lines if (line := one_line(text, MAX_BULLET)))
    return tuple(kept)[:most] or (fallback,)


def focuses(items: Iterable[str], most: int) -> tuple[str, ...]:
    """Between one and seven focuses of 1-65 characters without semicolons."""
    kept = dict.fromkeys(item for text in items if (item := one_line(text.replace(";", ","), MAX_FOCUS)))
    return tuple(kept)[: min(most, 7)] or ("the course of events",)


def described(groups: Sequence[Described], most: int, bullets_each: int) -> tuple[Described, ...]:
    """Named groups of bullets with unique names."""
    seen: dict[str, Described] = {}
    for group in groups:
        name = one_line(group.name, MAX_NAME)
        if name and name not in seen:
            seen[name] = Described(name, bullets(group.bullets, bullets_each, "Has a part in the story."))
    return tuple(seen.values())[:most]


def preview_words(text: str) -> list[str]:
    """The words of ``text`` in the preview alphabet: Latin letters, digits and common punctuation; at most one mark
    stands before a word."""
    found = []
    for token in unicodedata.normalize("NFC", text).split():
        token = re.sub(f"[^{_LETTER}{re.escape(_PUNCTUATION)}]", "", token)
        match = re.match(f"([{re.escape(_PUNCTUATION)}]*)([{_LETTER}].*)", token)
        if match:
            found.append(match.group(1)[-1:] + match.group(2))
    return found


def passage(text: str, low: int, high: int) -> str:
    """A preview passage of ``low`` to ``high`` words, filled with neutral sentences or cut at a sentence end."""
    words = preview_words(text)
    for sentence in (*_PAD, *_PAD):
        if len(words) >= low:
            break
        words += preview_words(sentence)
    if len(words) > high:
        ends = [i + 1 for i, word in enumerate(words[:high]) if word[-1] in ".!?" and i + 1 >= low]
        words = words[: ends[-1] if ends else high]
    return " ".join(words)


def title(text: str) -> str:
    """One to eight words of the preview alphabet."""
    return " ".join(preview_words(text)[:8]).rstrip(" ,;:") or "An Untitled Novel"


def tags(items: Iterable[str]) -> tuple[str, ...]:
    """Exactly seven different tags of one to eight words, without , ; ! or ?."""
    pool = [*items, "novel", "fiction", "prose", "narrative", "characters", "chapters", "storytelling"]
    cleaned = (" ".join(preview_words(re.sub(r"[,;!?]", "", item))[:8]) for item in pool)
    return tuple(dict.fromkeys(tag for tag in cleaned if tag))[:7]
