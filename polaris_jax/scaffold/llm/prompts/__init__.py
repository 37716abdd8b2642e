"""The words that a model is asked with: text files in this folder, one instruction each.

``system`` opens every question. ``guide`` follows it where the window is large: what the notes are for, what makes them
useful, how they are written, what never to write, and a worked example.
"""

from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=64)
def text(name: str) -> str:
    """The instruction in ``NAME.txt``; in some of them ``{words}`` in braces are filled in by the caller."""
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8").strip()


def forbidden() -> tuple[str, ...]:
    """Phrases that no note may use, in lower case: they would fit any book."""
    return tuple(text("forbidden").lower().splitlines())


@lru_cache(maxsize=1)
def guide() -> str:
    """What is said behind ``system`` where the window has room for it."""
    return text("guide").format(forbidden="\n".join(f"- {phrase}" for phrase in forbidden()))
