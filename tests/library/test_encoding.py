"""A book reads the same in every encoding that English novels come in."""

import codecs

import pytest

from polaris_jax.library.encoding import NotText, decode

TEXT = "“Café,” said Zoë—naïve as ever—and the façade fell.\n\nIt was quiet after that.\n" * 40


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_encodings_give_the_same_text(data, encoding):
    assert decode(data) == (TEXT, encoding)


def test_latin_1_bytes_are_read_even_when_the_file_claims_utf_8():
    text = "Character set encoding: UTF-8\n\nMadame Dupré était là, à côté de la fenêtre.\n"
    assert decode(text.encode("latin-1")) == (text, "iso-8859-1")


def test_utf_8_with_a_few_stray_western_bytes_keeps_its_letters():
    data = TEXT.encode() + "Renée".encode("cp1252")
    text, encoding = decode(data)
    assert encoding == "utf-8"
    assert text == TEXT + "Renée"


def test_line_ends_become_lf_and_letters_are_composed():
    assert decode("one\r\ntwo\rthre\u0301e\n".encode())[0] == "one\ntwo\nthrée\n"


def test_form_feed_does_not_shift_line_numbers():
    assert decode(b"one\n\x0ctwo\nthree\n")[0].split("\n").index("three") == 2


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n" + bytes(3000), b"\x7fELF" + b"\1\2\3" * 99]
)
def test_binary_is_refused(data):
    with pytest.raises(NotText):
        decode(data)
