"""A person's changes to a finished stage: found by name, judged like a model's text, and what follows is dropped.

Later stages were written in answer to what the stage used to say, so they are written anew.
"""

import os
import unicodedata
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.sampling.export import TRANSCRIPT, write_atomically
from polaris_jax.sampling.ledger import hold
from polaris_jax.trajectory import ROLES, SPECIALS, Stage, check, header, split_stages, trim_stage_text
from polaris_jax.trajectory.transcript import EOT


def stage_name(which: str) -> tuple[str, int]:
    """``role`` or ``role:n`` (the n-th stage of that role, from 1) as ``(role, n)``.

    Raises:
      InputError: no stage is called so.
    """
    role, _, number = which.partition(":")
    if role not in ROLES or (number and not (number.isdecimal() and int(number) > 0)):
        raise InputError("stage", which, f"use role or role:n with n from 1 and a role of: {', '.join(ROLES)}")
    return role, int(number or 1)


def find_stage(transcript: str, which: str) -> Stage | None:
    """The stage that ``which`` names (``stage_name``) if it is finished, else None."""
    role, number = stage_name(which)
    stages = [stage for stage in split_stages(transcript, partial=True) if stage.complete and stage.role == role]
    return stages[number - 1] if number <= len(stages) else None


def replace_stage(transcript: str, stage: Stage, text: str) -> str:
    """The transcript up to and including ``stage``, which now says ``text``.

    What editors do to a text (CRLF, blanks at line ends, a last newline, decomposed accents) is undone.

    Raises:
      InputError: the text breaks a rule of its stage, or contradicts an earlier one; names line and rule.
    """
    if stage.role == "prompt":
        raise InputError("edit", stage.role, "another prompt is another book; use a new folder")
    for special in SPECIALS:
        if special in text:
            raise InputError(stage.role, special, "is reserved; a stage's text cannot contain it")
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    edited = transcript[: stage.start] + header(stage.role) + trim_stage_text(text) + EOT
    last = check(edited, "strict").stages[-1]
    if last.violation:
        raise InputError(stage.role, str(last.violation), "mend this line and try again")
    return edited


def edit_stage(folder: str | os.PathLike, which: str, text: str) -> bool:
    """Puts ``text`` in the place of a finished stage of the book in ``folder`` and drops what came after it.

    ``write_book`` then goes on from there. Nothing happens when the text is the one that is there already.

    Returns:
      Whether anything changed.

    Raises:
      InputError: no such stage, a text that breaks a rule, or a book in work; the book is left as it was.
    """
    path = Path(folder) / TRANSCRIPT
    with hold(Path(folder)):
        transcript = path.read_bytes().decode() if path.exists() else ""
        stage = find_stage(transcript, which)
        if stage is None:
            raise InputError("edit", which, f"is not written yet in {folder}")
        edited = replace_stage(transcript, stage, text)
        if transcript.startswith(edited):
            return False
        write_atomically(path, edited.encode())
    return True
