"""Known books set anew, in other headings, paragraph styles and front matter, with the lines of the true headings.

For ``benchmarks/segmentation.py --reset``: the words are real, only the setting is made, so that the truth is known
and no layout was there when the rules were written.
"""

import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from polaris_jax.library.headings import NUMBER_WORDS

_ORDINALS = {word for word in NUMBER_WORDS if word.endswith(("th", "first", "second", "third"))}
_ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
_FIRST = ["Grey", "Long", "Broken", "Second", "Quiet", "Empty", "Green", "Lost", "Bitter", "Hidden"]
_LAST = ["Horse", "Road", "House", "Visitor", "Winter", "Bargain", "Garden", "Mirror", "Journey", "Candle", "Bridge"]
_MAX_CHAPTERS, _MAX_CHARS = 22, 8_000


def words(number: int, ordinal: bool = False) -> str:
    """A number below 100 spelled out."""
    return next(word for word, value in NUMBER_WORDS.items() if value == number and (word in _ORDINALS) == ordinal)


def roman(number: int) -> str:
    """A number as a Roman numeral."""
    numeral = ""
    for value, digits in _ROMAN:
        numeral, number = numeral + digits * (number // value), number % value
    return numeral


FORMS: dict[str, Callable[[int, str], str]] = {
    "CHAPTER I": lambda n, t: f"CHAPTER {roman(n)}",
    "Chapter 1: T": lambda n, t: f"Chapter {n}: {t}",
    "CHAPTER I.--T": lambda n, t: f"CHAPTER {roman(n)}.--{t.upper()}",
    "CHAPTER THE FIRST": lambda n, t: f"CHAPTER THE {words(n, True).upper()}",
    "Chapter Twenty-One": lambda n, t: f"Chapter {words(n).title()}",
    "The First Chapter": lambda n, t: f"The {words(n, True).title()} Chapter",
    "Chapter the First, in which": lambda n, t: f"Chapter the {words(n, True).title()}, in which {t.lower()} is found",
    "CHAPTER XX I": lambda n, t: f"CHAPTER {' '.join(roman(n))}",
    "C H A P T E R I": lambda n, t: f"C H A P T E R   {roman(n)}",
    "Ch. 1": lambda n, t: f"Ch. {n}",
    "Chapter-1": lambda n, t: f"Chapter-{n}",
    "I": lambda n, t: roman(n),
    "i.": lambda n, t: roman(n).lower() + ".",
    "- I -": lambda n, t: f"- {roman(n)} -",
    "<1>": lambda n, t: f"<{n}>",
    "§ 1": lambda n, t: f"§ {n}",
    "No. 1": lambda n, t: f"No. {n}",
    "1.": lambda n, t: f"{n}.",
    "X X I": lambda n, t: " ".join(roman(n)),
    "ONE": lambda n, t: words(n).upper(),
    "I. T": lambda n, t: f"{roman(n)}. {t}",
    "I T": lambda n, t: f"{roman(n)} {t}",
    "1 - T": lambda n, t: f"{n} - {t}",
    "1 T": lambda n, t: f"{n} {t}",
    "T": lambda n, t: t,
    "T, I": lambda n, t: f"{t.upper()}\n\nCHAPTER {roman(n)}",
    "CHAPTER I, T": lambda n, t: f"CHAPTER {roman(n)}\n{t.upper()}",
    "<h2>": lambda n, t: f"<h2>Chapter {n}</h2>",
    "== Chapter 1 ==": lambda n, t: f"== Chapter {n} ==",
    "# T": lambda n, t: f"# {t}",
    "centred": lambda n, t: f"CHAPTER {roman(n)}".center(72).rstrip(),
    "ruled": lambda n, t: f"-------------\nCHAPTER {roman(n)}\n-------------",
    "LETTER I": lambda n, t: f"LETTER {roman(n)}",
    "STAVE ONE": lambda n, t: f"STAVE {words(n).upper()}",
    "Day the First": lambda n, t: f"Day the {words(n, True).title()}",
}


@dataclass(frozen=True)
class PageSetting:
    """How a book is set: paragraph style, blank lines above and below a heading, contents page, chapters to a part."""

    style: str = "blank"
    above: int = 3
    below: int = 2
    front: str = "by"
    contents: str = ""
    parts: int = 0


SETTINGS = {
    "blank lines": PageSetting(),
    "one blank line everywhere": PageSetting(above=1, below=1),
    "text right below the heading": PageSetting(above=2, below=0),
    "a paragraph per line": PageSetting("line", 2, 1, "lines"),
    "a paragraph per line, no blank": PageSetting("line", 0, 0, "lines"),
    "wrapped without blanks": PageSetting("wrapped", 1, 1),
    "wrapped, no blank at all": PageSetting("wrapped", 0, 0, "lines"),
    "indents, no blank at all": PageSetting("indent", 0, 0, "lines"),
    "contents page": PageSetting(contents="plain", above=2, below=1),
    "contents page with pages": PageSetting(contents="pages", above=2, below=1),
    "parts": PageSetting(parts=7),
}


def shortened(text: str) -> str:
    """A chapter's first paragraphs."""
    kept, size = [], 0
    for paragraph in text.split("\n\n"):
        kept.append(paragraph)
        size += len(paragraph)
        if size > _MAX_CHARS:
            break
    return "\n\n".join(kept)


def reset_book(chapters: list[str], form: str, setting: PageSetting, seed: int) -> tuple[str, list[tuple[int, int]]]:
    """A book in another setting.

    Args:
      chapters: clean text of the chapters; the first 22 are used, shortened.
      form: key of ``FORMS``.

    Returns:
      (text, first and last line of every heading).
    """
    rng = random.Random(seed)
    chapters = [shortened(chapter) for chapter in chapters[:_MAX_CHAPTERS]]
    titles = [
        f"{rng.choice(('The', 'A', ''))} {rng.choice(_FIRST)} {rng.choice(_LAST)}".strip() for _ in range(len(chapters))
    ]
    out = ["THE MILL AT NIGHT", "A. Writer"] if setting.front == "lines" else ["THE MILL AT NIGHT", "", "by A. Writer"]
    if setting.contents:
        out += [*[""] * setting.above, "CONTENTS", ""]
        for number, title in enumerate(titles, 1):
            entry = " ".join(FORMS[form](number, title).split())
            out.append(f"{entry} ........ {11 * number}" if setting.contents == "pages" else f"     {entry}")
    headings = []
    for position, chapter in enumerate(chapters):
        number = position % setting.parts + 1 if setting.parts else position + 1
        if setting.parts and number == 1:
            out += [*[""] * setting.above, f"PART {words(position // setting.parts + 1).upper()}"]
        out += [""] * (setting.above if position or setting.front != "lines" or setting.parts else 0)
        lines = FORMS[form](number, titles[position]).split("\n")
        headings.append((len(out) + 1, len(out) + len(lines)))
        out += [*lines, *[""] * setting.below]
        for place, paragraph in enumerate(chapter.split("\n\n")):
            out += [""] * (place > 0 and setting.style == "blank")
            out += _set(paragraph, setting.style)
    return "\n".join(out) + "\n", headings


def _set(paragraph: str, style: str) -> list[str]:
    if "\n" in paragraph or paragraph == "* * *":
        return ["   " + line for line in paragraph.split("\n")]
    if style == "line":
        return [paragraph]
    indent = "    " if style == "indent" else ""
    return textwrap.wrap(paragraph, 72, initial_indent=indent, break_long_words=False, break_on_hyphens=False)
