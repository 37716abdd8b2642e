"""Drop capitals: puts the first letter of a chapter, set as a picture or a span, back on its word."""

import re

from lxml import etree

from polaris_jax.library.epub.archive import plain, tag_of

_CLASS = re.compile(r"drop|initial|first-?letter|lettrine|versal|big-?(?:letter|cap)", re.I)
_LETTER = re.compile(r"[“\"‘'«(]{0,2}[^\W\d_]")
_NAMED = re.compile(r"(?:drop|initial|capital|letter|decorat|illuminat)\w*\W+(?:\w+\W+)*?([A-Z])\W*$", re.I)
_FILE = re.compile(r"(?:^|[/_-])(?:drop|initial|cap|letter)?[_-]?([a-z])\.\w+$", re.I)
_WORDS = "AIO"  # capitals that can be words: "A lamp", "I was", "O friend"


def is_drop_capital(node: etree._Element) -> bool:
    """Whether an element holds a drop capital and nothing else."""
    if tag_of(node) not in ("span", "b", "big", "strong", "font", "em", "i", "div", "p"):
        return False
    style = f"{node.get('class') or ''} {node.get('epub:type') or ''}"
    return bool(_CLASS.search(style) or tag_of(node) == "big") and _LETTER.fullmatch(plain(node)) is not None


def image_letter(alt: str, source: str, following: str) -> str:
    """The letter shown by a picture at the start of a paragraph, or ''.

    Args:
      alt: its alternative text, which is the letter, or names it ("Drop cap T").
      source: its file name, used only if the alternative text is empty ("initial-t.png").
      following: the text after the picture.
    """
    if _LETTER.fullmatch(alt):
        return alt
    if named := _NAMED.search(alt):
        return named[1].upper()
    rest = following[:1].islower() or following[:2].isupper()
    if not alt and rest and (file := _FILE.search(source)):
        return file[1].upper()
    return ""


def joins_capital(capital: str, text: str) -> str:
    """Joins capital and text: one word, or two if the capital is a word: "T" + "he lamp", "A" + " lamp"."""
    if text[:1].isspace() and capital[-1] in _WORDS and not text.lstrip()[:2].isupper():
        return capital + text
    return capital + text.lstrip()
