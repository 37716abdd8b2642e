"""Normalised authors and titles, and the split of a book that follows from them."""

import hashlib
import re
import unicodedata

from polaris_jax.corpus.options import SPLITS

_NOBODY = {"", "anonymous", "unknown", "various", "anon"}
_TITLES_OF_PEOPLE = {"sir", "lady", "lord", "mrs", "mr", "miss", "dr", "rev", "baroness", "baron", "count", "countess"}
_OR = re.compile(r"(?:[;:,.]\s*or[,;:]?|\s+or[,;:])\s+.*$")  # "; or The Whale", " or, The Modern Prometheus"
_ARTICLE = re.compile(r"^(?:the|a|an)\s+")


def _plain(text: str) -> str:
    """Lower-case text without accents; ligatures and full-width letters become plain letters."""
    decomposed = unicodedata.normalize("NFKD", text.replace("æ", "ae").replace("Æ", "Ae").replace("œ", "oe"))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def author_key(author: str) -> str:
    """The author's names in alphabetical order, so that ``Austen, Jane, 1775-1817`` is ``Jane Austen``.

    '' without a name. Years, titles (``Sir``) and punctuation do not count.
    """
    text = re.sub(r"\([^)]*\)|\[[^]]*\]", " ", _plain(author))
    words = [word for word in re.findall(r"[^\W\d_]+", text) if word not in _TITLES_OF_PEOPLE]
    if " ".join(words) in _NOBODY:
        return ""
    return " ".join(sorted(words))


def title_key(title: str) -> str:
    """The title without case, accents, punctuation, leading article and a second title after ``or``.

    A volume number stays, because two volumes are two books.
    """
    text = _OR.sub("", _plain(title))
    words = " ".join(re.findall(r"[^\W_]+", re.sub(r"['’]", "", text)))
    return _ARTICLE.sub("", words) or words


def split_of(author: str, title: str, shares: tuple[float, float, float], seed: int) -> str:
    """The split of a book: it depends only on the author, or on the title if no author is named.

    So adding a book never moves another, and all books of an author stay together (gate V12).

    Args:
      shares: relative sizes of train, validation and test.
      seed: another seed gives another split.
    """
    who = author_key(author)
    name = f"author:{who}" if who else f"title:{title_key(title)}"
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares)
    for split, share in zip(SPLITS, shares, strict=True):
        if place < share:
            return split
        place -= share
    return next(split for split, share in zip(SPLITS, shares, strict=True) if share)
