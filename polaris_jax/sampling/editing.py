"""Edits a finished stage: finds it by name, checks the new text like a model's, and drops what follows.

Later stages depend on what the stage said before, so they are written again.
"""

import os
import unicodedata
from pathlib import Path

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.sampling.export import TRANSCRIPT
from polaris_jax.sampling.run_record import lock_folder
from polaris_jax.trajectory import SPECIALS, Stage, check, header, trim_stage_text
from polaris_jax.trajectory.transcript import EOT, find_stage


def replace_stage(transcript: str, stage: Stage, text: str) -> str:
    """The transcript up to and including ``stage`` with the new ``text``.

    Normalises what editors change (CRLF, blanks at line ends, a last newline, decomposed accents).

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
        raise InputError(stage.role, str(last.violation), "correct this line and try again")
    return edited


def edit_stage(folder: str | os.PathLike, which: str, text: str) -> bool:
    """Replaces a finished stage of the book in ``folder`` by ``text`` and drops what came after it.

    ``write_book`` then continues from there. A text equal to the old one changes nothing.

    Returns:
      Whether anything changed.

    Raises:
      InputError: no such stage, a text that breaks a rule, or another process is writing; the book is left as it was.
    """
    path = Path(folder) / TRANSCRIPT
    with lock_folder(Path(folder)):
        transcript = path.read_bytes().decode() if path.exists() else ""
        stage = find_stage(transcript, which)
        if stage is None:
            raise InputError("edit", which, f"is not written yet in {folder}")
        edited = replace_stage(transcript, stage, text)
        if transcript.startswith(edited):
            return False
        storage.write(path, edited.encode())
    return True
