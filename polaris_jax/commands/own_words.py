"""The user's own input to ``polaris write``: outline, manuscript, rules of style, and their scripts (alphabets)."""

import argparse
import dataclasses
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

MAX_PROMPT_BYTES, MAX_TRANSCRIPT_BYTES = 1 << 20, 64 << 20
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

if TYPE_CHECKING:
    from polaris_jax.trajectory import BookOutline, Profile


def lines_of(file: str | None, flag: str) -> tuple[str, ...]:
    """The non-empty lines of a file, without list marks."""
    if file is None:
        return ()
    lines = (line.strip().lstrip("-*• ").strip() for line in read_text(file, flag, MAX_PROMPT_BYTES).splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def outline_of(a: argparse.Namespace) -> "BookOutline":
    """The outline from the user's own files."""
    from polaris_jax.errors import InputError
    from polaris_jax.trajectory import BookOutline, read_outline
    from polaris_jax.trajectory.draft import read_draft

    if a.outline and a.draft:
        raise InputError("--outline", a.outline, "give it or --continue, not both")
    outline = BookOutline()
    if a.outline:
        outline = read_outline(read_text(a.outline, "--outline", MAX_PROMPT_BYTES))
        if outline == BookOutline():
            raise InputError("--outline", a.outline, "says nothing; give a title, a premise or chapters (## Name)")
    elif a.draft:
        outline = read_draft(_manuscript(a.draft), lambda line: print(f"polaris write: {line}", file=sys.stderr))
    if a.style:
        rules = "\n".join(f"- {line}" for line in lines_of(a.style, "--style"))
        style = read_outline(f"## Style\n{rules}").style
        outline = dataclasses.replace(outline, style=(*outline.style, *style))
    return outline


def _manuscript(file: str) -> str:
    """The text of ``--continue``; a title that a word processor's file declares becomes the first heading."""
    from polaris_jax.errors import InputError
    from polaris_jax.library.word_processor import read_word, word_format

    data = _bytes(file, "--continue")
    if word_format(BytesIO(data)) is None:
        suffix = Path(file).suffix.lower()
        if suffix in (".docx", ".odt"):
            raise InputError("--continue", file, f"is no {suffix} file, whatever its name says; save it anew")
        if suffix not in (".md", ".markdown", ".txt", ""):
            raise InputError("--continue", file, "save it as .docx, .odt, .md or .txt, chapters under headings")
        text = _decoded(data, file, "--continue")
        if not any(map(str.isalnum, text)):
            raise InputError("--continue", file, "has no text in it")
        return text
    word = read_word(data, file)
    if word.dropped:
        print(f"polaris write: left out of {file}: {', '.join(word.dropped)}", file=sys.stderr)
    return f"# {' '.join(word.title.split())}\n\n{word.body}" if word.title else word.body


def scripts_of_words(a: argparse.Namespace, prompt: str, outline: "BookOutline") -> tuple[str, ...]:
    """The scripts of ``--scripts``, else those of the user's words; warns about letters that cannot be written."""
    from polaris_jax.trajectory.scripts import scripts_of, unknown_letters

    words = f"{prompt}\n{outline.text}"
    if foreign := unknown_letters(words):
        print(f"polaris write: these letters of yours cannot be written in the book: {foreign[:40]}", file=sys.stderr)
    if a.scripts is not None:
        return tuple(dict.fromkeys(name.strip() for name in a.scripts.split(",") if name.strip()))
    return scripts_of(words)


def with_outline(profile: "Profile", outline: "BookOutline", scripts: tuple[str, ...]) -> "Profile":
    """The profile with room for everything that is already planned and written."""
    chapters, caps = profile.chapters, dict(profile.caps)
    if planned := len(outline.chapters):
        written = any(chapter.text for chapter in outline.chapters)
        low = planned + (written and outline.chapters[-1].finished)
        chapters = (max(low, 2), max(chapters[1], low, 2)) if written else (max(planned, 2), max(planned, 2))
        longest = max(len(chapter.text.encode()) for chapter in outline.chapters)
        for role in ("first_chapter_text", "chapter_text"):
            caps[role] = caps.get(role, 0) + longest  # bytes; no tokenizer needs more tokens than bytes
    return dataclasses.replace(profile, chapters=chapters, caps=caps, outline=outline, scripts=scripts)


def read_text(file: str, flag: str, most: int = MAX_TRANSCRIPT_BYTES) -> str:
    """Reads the UTF-8 file of a flag.

    Raises:
      InputError: the file cannot be read, is no text in UTF-8, or is larger than ``most`` bytes.
    """
    return _decoded(_bytes(file, flag, most), file, flag)


def _bytes(file: str, flag: str, most: int = MAX_TRANSCRIPT_BYTES) -> bytes:
    from polaris_jax.errors import InputError

    try:
        with open(file, "rb") as opened:  # a device or a pipe has no size and may never end
            content = opened.read(most + 1)
    except OSError as error:
        raise InputError(flag, file, f"cannot be read: {error}") from error
    if len(content) > most:
        raise InputError(flag, file, f"is larger than {most >> 20} MiB")
    return content


def _decoded(content: bytes, file: str, flag: str) -> str:
    from polaris_jax.errors import InputError

    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        advice = f"cannot be read as UTF-8 (byte {error.start} is {content[error.start]:#04x}); save it as UTF-8 text"
        raise InputError(flag, file, advice) from None
    if binary := _BINARY.search(text):
        advice = f"is no text: character {binary.start() + 1} is U+{ord(binary[0]):04X}; save it as UTF-8 text"
        raise InputError(flag, file, advice)
    return text
