"""Decodes bytes to text. The bytes decide, not a header.

Old e-texts often name an encoding that is wrong since they were re-encoded, so declarations inside the file are
ignored. The order of trust: byte order mark, NUL pattern (UTF-16 without a mark), strict UTF-8, UTF-8 with a few stray
Western bytes, Windows-1252/Latin-1, and statistical detection for anything else.
"""

import codecs
import re
import unicodedata

from charset_normalizer import from_bytes

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL_BYTES = bytes(range(0x00, 0x08)) + bytes(range(0x0E, 0x1A)) + bytes(range(0x1B, 0x20)) + b"\x7f"
_SAMPLE = 65_536
_MAX_CONTROL_SHARE = 0.005
_MAX_WESTERN_HIGH_SHARE = 0.12  # even accent-rich Western prose stays below; Cyrillic or Greek bytes are far above
_INVISIBLE = (*map(chr, (*range(0x80, 0xA0), *range(0x200B, 0x2010))), "\u2060", "\ufeff")
_ODD_SPACES = ("\xa0", *map(chr, range(0x2000, 0x200B)), "\u2028", "\u2029", "\u202f", "\u3000")
_CONTROLS = dict.fromkeys([*range(0x00, 0x09), *range(0x0E, 0x20), 0x7F]) | {0x0B: " ", 0x0C: " "}
_SOFT_HYPHEN = re.compile(r"\xad(?![ \t]*\n[ \t]*[^\W\d_])")  # at a line end it joins two halves of a word, so it stays
_CONTROL = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")


class NotText(ValueError):
    """The bytes are not text in any known encoding."""


def decode(data: bytes) -> tuple[str, str]:
    """Decodes a whole file.

    Args:
      data: the file's bytes, not empty.

    Returns:
      (text, encoding): ``text`` is NFC with LF line ends and without byte order mark or control characters. (A form
      feed becomes a space, so that line numbers stay those of the file.) ``encoding`` names the encoding.

    Raises:
      NotText: the bytes are binary.
    """
    text, encoding = _decode(data)
    return normalise(text), encoding


def _decode(data: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace"), encoding
    sample = data[:_SAMPLE]
    if b"\0" in sample:
        return _decode_nul_pattern(data, sample)
    control = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    if control > _MAX_CONTROL_SHARE * len(sample):
        raise NotText("too many control characters")
    if data.isascii():
        return data.decode("ascii"), "ascii"
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    return _decode_8bit(data)


def _decode_nul_pattern(data: bytes, sample: bytes) -> tuple[str, str]:
    """UTF-16 without a mark: in Western text, nearly all NULs are on one side of each byte pair."""
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros > 0.6 * half and others < 0.05 * half:
            return data.decode(encoding, errors="replace"), encoding
    raise NotText("NUL bytes")


def _decode_8bit(data: bytes) -> tuple[str, str]:
    """UTF-8 with stray single bytes, a Western 8-bit set, or the result of statistical detection."""
    loose = data.decode("utf-8", errors="replace")
    bad = loose.count("\ufffd")
    good = sum(not c.isascii() for c in loose) - bad
    if good >= 4 * bad:
        return data.decode("utf-8", errors="polaris_western"), "utf-8"
    high = sum(byte >= 0x80 for byte in data)
    if high <= _MAX_WESTERN_HIGH_SHARE * len(data):
        windows = any(0x80 <= byte <= 0x9F for byte in set(data))
        if not windows:
            return data.decode("latin-1"), "iso-8859-1"
        return data.decode("cp1252", errors="polaris_western"), "cp1252"
    best = from_bytes(data[: 4 * _SAMPLE]).best()
    if best is None:
        raise NotText("no known character set fits")
    return data.decode(best.encoding, errors="replace"), best.encoding.replace("_", "-")


def _western_byte(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: reads bytes that do not fit as Windows-1252, or drops them."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    stray = error.object[error.start : error.end]
    return stray.decode("cp1252", errors="ignore"), error.end


codecs.register_error("polaris_western", _western_byte)


def normalise(text: str) -> str:
    """Text in NFC, with LF line ends and plain spaces, without control or invisible characters."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _CONTROL.search(text):
        text = text.translate(_CONTROLS)
    if text.isascii():
        return text
    if "\xad" in text:
        text = _SOFT_HYPHEN.sub("", text)
    for char in _INVISIBLE:  # a membership test is one memory scan, far cheaper than one pass of a regular expression
        if char in text:
            text = text.replace(char, "")
    for char in _ODD_SPACES:
        if char in text:
            text = text.replace(char, " ")
    return unicodedata.normalize("NFC", text)
