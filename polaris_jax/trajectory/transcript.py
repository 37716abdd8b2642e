"""The transcript: stages, the three special strings, and the helpers of the released orchestrator.

A stage is ``<|start_header_id|>role<|stop_header_id|>``, two newlines, its text and ``<|eot_id|>``; stages follow one
another with nothing between them (trajectory specification 4.1).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from polaris_jax.errors import InputError
from polaris_jax.trajectory import stages
from polaris_jax.trajectory.elements import vector as vector_line

START, STOP, EOT = "<|start_header_id|>", "<|stop_header_id|>", "<|eot_id|>"
SPECIALS = (START, STOP, EOT)

_HEADER = re.compile(re.escape(START) + r"(\w+)" + re.escape(STOP) + "\n\n")


@dataclass(frozen=True)
class Stage:
    """One stage; ``transcript[start:end]`` is all of it, header and (when ``complete``) ``<|eot_id|>`` included."""

    role: str
    text: str
    start: int
    end: int
    complete: bool = True

    @property
    def text_start(self) -> int:
        """Offset in the transcript at which ``text`` begins."""
        return self.start + len(header(self.role))


def header(role: str) -> str:
    """The header of a stage."""
    return f"{START}{role}{STOP}\n\n"


def open_transcript(prompt: str) -> str:
    """The transcript with only the user's request, in canonical form (normal form C, no trailing white space).

    Raises:
      InputError: the prompt is empty or contains one of the special strings.
    """
    for special in SPECIALS:
        if special in prompt:
            raise InputError("prompt", prompt, f"remove the reserved string {special}")
    text = unicodedata.normalize("NFC", prompt.replace("\r\n", "\n").replace("\r", "\n"))
    text = trim_stage_text("".join(char for char in text if char >= " " or char in "\n\t"))
    if not text:
        raise InputError("prompt", prompt, "say what the book should be about")
    return header("prompt") + text + EOT


def split_stages(transcript: str, partial: bool = False) -> list[Stage]:
    """The stages of a transcript; ``join_stages`` is the inverse.

    Args:
      transcript: stages with nothing between them.
      partial: the last stage may lack its ``<|eot_id|>``; it is then returned with ``complete=False``.

    Raises:
      InputError: no known stage begins or ends at an offset, which the error names.
    """
    found, at = [], 0
    while at < len(transcript):
        opening = _HEADER.match(transcript, at)
        if opening is None:
            raise InputError(f"transcript offset {at}", transcript[at : at + 60], "a stage header must begin here")
        if opening[1] not in stages.ROLES:
            raise InputError(f"transcript offset {at}", opening[1], f"use a known role: {', '.join(stages.ROLES)}")
        stop = transcript.find(EOT, opening.end())
        if stop < 0 and not partial:
            raise InputError(f"stage {opening[1]}", transcript[-60:], f"the stage must end with {EOT}")
        complete = stop >= 0
        stop = stop if complete else len(transcript)
        end = stop + len(EOT) * complete
        found.append(Stage(opening[1], transcript[opening.end() : stop], at, end, complete))
        at = end
    return found


def join_stages(parts: Iterable[Stage | tuple[str, str]]) -> str:
    """The transcript of stages or of ``(role, text)`` pairs."""
    pairs = ((part.role, part.text) if isinstance(part, Stage) else part for part in parts)
    return "".join(header(role) + text + EOT for role, text in pairs)


def render_prompt(prompt: str, completed: Iterable[tuple[str, str]], next_role: str) -> str:
    """Transcript prefix that asks for ``next_role`` after the ``completed`` (role, text) stages."""
    return join_stages([("prompt", prompt), *completed]) + header(next_role)


def trim_stage_text(text: str, strip_leading_blank_lines: bool = True) -> str:
    """Cuts at the first ``<|eot_id|>``, strips the end of every line, drops blank lines at the end (and the start)."""
    lines = [line.rstrip() for line in text.split(EOT, 1)[0].split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if strip_leading_blank_lines:
        while lines and not lines[0]:
            lines.pop(0)
    return "\n".join(lines)


def merge_prefilled_text(prefill: str, generated: str) -> str:
    """A text stage from its prefilled head and what was generated after it (which may repeat the head).

    Raises:
      InputError: the generated text begins with a heading or fence other than the head.
    """
    if generated.startswith(prefill):
        return generated
    if generated.strip().startswith(("## ", "### ", stages.FENCE)):
        raise InputError("generated text", generated, "prose must not begin with a heading or a fence")
    return prefill + generated


def book_filename(title: str, extension: str = ".txt") -> str:
    """A file name for a generated title: characters that file systems refuse become spaces."""
    cleaned = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', " ", title)
    return (" ".join(cleaned.split()).strip(" .") or "book") + extension


def extract_planned_chapters(book_plan: str) -> list[dict]:
    """Chapters of a 14B plan, in reading order.

    Reads Chapter Names, Chapters Embedding Space and Chapters Word Count, which must agree in arcs, names and order.
    As in the release, Number of Chapters is not read.

    Returns:
      ``[{"chapter_name", "chapter_word_count", "chapter_embedding_space"}]``.

    Raises:
      InputError: a section is missing, malformed or disagrees with Chapter Names; the error names it.
    """
    lines = [line.rstrip() for line in book_plan.split("\n")]
    names = _arc_lines(lines, stages.NAMES, "- ", 0)
    vectors = _arc_lines(lines, stages.VECTORS, "#### ", 1)
    counts = _arc_lines(lines, stages.COUNTS, "#### ", 1)
    for section, found in ((stages.VECTORS, vectors), (stages.COUNTS, counts)):
        if [(arc, name) for arc, name, _ in found] != [(arc, name) for arc, name, _ in names]:
            raise InputError(section, [name for _, name, _ in found][:5], f"arcs and names must equal {stages.NAMES}")
    chapters = []
    for (_, name, _), (_, _, vector), (_, _, count) in zip(names, vectors, counts, strict=True):
        if not re.fullmatch("[0-9]{2,5}", count):
            raise InputError(stages.COUNTS, count, f"the word count of {name} must have two to five digits")
        if not vector_line.matches(vector):
            raise InputError(stages.VECTORS, vector, f"the vector of {name} must list the seven dimensions")
        chapters.append({"chapter_name": name, "chapter_word_count": int(count), "chapter_embedding_space": vector})
    return chapters


def _arc_lines(lines: list[str], section: str, marker: str, values: int) -> list[tuple[str, str, str]]:
    """(arc head, name, value line) of every chapter in a section; the value is "" when ``values`` is 0."""
    if section not in lines:
        raise InputError("book_plan", section, "this section is missing")
    at, arc, found = lines.index(section) + 1, "", []
    while at < len(lines) and not lines[at].startswith("## "):
        line = lines[at]
        if line.startswith("### "):
            arc = line
        elif line.startswith(marker) and arc:
            value = lines[at + 1] if values and at + 1 < len(lines) else ""
            found.append((arc, line[len(marker) :], value))
            at += values
        elif line:
            raise InputError(section, line, "this line belongs to no arc or chapter")
        at += 1
    if not found:
        raise InputError(section, "", "no chapter is listed")
    return found


def stage_name(which: str) -> tuple[str, int]:
    """``role`` or ``role:n`` (the n-th stage of that role, from 1) as ``(role, n)``.

    Raises:
      InputError: no stage has that name.
    """
    role, _, number = which.partition(":")
    if role not in stages.ROLES or (number and not (number.isdecimal() and int(number) > 0)):
        raise InputError("stage", which, f"use role or role:n with n from 1 and a role of: {', '.join(stages.ROLES)}")
    return role, int(number or 1)


def find_stage(transcript: str, which: str) -> Stage | None:
    """The stage that ``which`` names (``stage_name``) if it is finished, else None."""
    role, number = stage_name(which)
    found = [stage for stage in split_stages(transcript, partial=True) if stage.complete and stage.role == role]
    return found[number - 1] if number <= len(found) else None
