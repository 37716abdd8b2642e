"""Opens a finished stage of a book in the user's editor."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from polaris_jax import storage
from polaris_jax.errors import InputError


def edit_by_hand(folder: Path, which: str, write_it_first: Callable[[str], object]) -> None:
    """Opens a stage of the book in ``folder`` in ``$VISUAL``, ``$EDITOR`` or vi, and replaces the stage by the result.

    A text that breaks a rule is kept beside the book, and opened again next time.

    Args:
      write_it_first: writes the book up to the stage if the stage does not exist yet.

    Raises:
      InputError: the editor fails, or the text breaks a rule of the stage.
    """
    from polaris_jax.sampling import edit_stage
    from polaris_jax.sampling.export import TRANSCRIPT
    from polaris_jax.trajectory.transcript import find_stage

    transcript = folder / TRANSCRIPT
    if not transcript.exists() or find_stage(transcript.read_bytes().decode(), which) is None:
        write_it_first(which)
    stage = find_stage(transcript.read_bytes().decode(), which)
    if stage is None:
        raise InputError("--edit", which, "the book is finished and has no such stage")
    draft = folder / f"edit-{which.replace(':', '-')}.txt"
    if not draft.exists():
        storage.write(draft, f"{stage.text}\n".encode())
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), str(draft)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError("EDITOR", editor, f"failed ({error}); {draft} holds the stage") from error
    try:
        edit_stage(folder, which, draft.read_bytes().decode())
    except (InputError, UnicodeDecodeError) as error:
        advice = f"{error}; your text is kept in {draft}: run the same command again"
        raise InputError("--edit", which, advice) from error
    draft.unlink()
