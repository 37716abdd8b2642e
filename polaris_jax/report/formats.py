"""Formats numbers and texts for a page. A value that is not finite becomes a dash, so a page can be made from records
that lack a field."""

import math
import re
from typing import TypeGuard

from markupsafe import Markup, escape

from polaris_jax.trajectory import SPECIALS

DASH = "–"
MINUS = "−"
_SPECIALS = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether the value is a finite int or float; bool, None, text and NaN are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count(value: object) -> str:
    """``1234567`` -> ``1,234,567``; fractions are rounded to a whole number."""
    return f"{value:,.0f}" if is_number(value) else DASH


def compact(value: object) -> str:
    """Three significant digits and a unit: ``135_264_000`` -> ``135 M``; below ten thousand it is ``count``."""
    if not is_number(value) or abs(value) < 10_000:
        return count(value)
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{max(0, 2 - math.floor(math.log10(abs(scaled) * 1.0005)))}f} {unit}"
    return count(value)


def decimal(value: object, digits: int = 3) -> str:
    """A number with a fixed number of decimals; for losses and rates."""
    return f"{value:.{digits}f}".replace("-", MINUS) if is_number(value) else DASH


def signed(value: object, digits: int = 3) -> str:
    """``decimal`` with a plus sign if there is no minus; for changes."""
    return f"{value:+.{digits}f}".replace("-", MINUS) if is_number(value) else DASH


def share(value: object, digits: int = 1) -> str:
    """A fraction as percent: ``0.6043`` -> ``60.4 %``."""
    return f"{100 * value:.{digits}f} %".replace("-", MINUS) if is_number(value) else DASH


def duration(seconds: object) -> str:
    """``0.42 s``, ``37 s``, ``6 min 12 s``, ``1 h 02 min``."""
    if not is_number(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(number: int, one: str, many: str | None = None) -> str:
    """``1 stage``, ``11 stages``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def mark_specials(text: str) -> Markup:
    """Escaped text with markup around the three special strings of the stage language."""
    pieces = _SPECIALS.split(text)
    return Markup("").join(
        Markup('<i class="special">{}</i>').format(piece) if index % 2 else escape(piece)
        for index, piece in enumerate(pieces)
    )


def paragraphs(prose: str) -> list[str]:
    """The paragraphs of prose, which blank lines separate."""
    return [part.strip("\n") for part in re.split(r"\n[ \t]*\n", prose) if part.strip()]


FILTERS = {
    "count": count,
    "compact": compact,
    "decimal": decimal,
    "signed": signed,
    "share": share,
    "duration": duration,
    "plural": plural,
    "mark_specials": mark_specials,
    "paragraphs": paragraphs,
}
