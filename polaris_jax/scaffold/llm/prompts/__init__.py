"""Instructions for a model: text files in this folder, one instruction each.

``system`` begins every question. If the window is large, ``guide`` follows it: what the notes are for, what makes them
useful, how they are written, what never to write, and a worked example.
"""

from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=64)
def text(name: str) -> str:
    """The instruction in ``NAME.txt``; in some, the caller fills in ``{words}`` in braces."""
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8").strip()


def forbidden() -> tuple[str, ...]:
    """Phrases that no note may use, because they would fit any book; in lower case."""
    return tuple(text("forbidden").lower().splitlines())


@lru_cache(maxsize=1)
def guide() -> str:
    """The text after ``system`` if the window has room for it."""
    return text("guide").format(forbidden="\n".join(f"- {phrase}" for phrase in forbidden()))
