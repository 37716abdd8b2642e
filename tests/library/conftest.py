"""Small made-up books: prose is drawn from a fixed stock of sentences, so that tests need no given data."""

import random
from pathlib import Path

import pytest

_SUBJECTS = ("Marta", "the miller", "old Corwin", "her brother", "the schoolmaster", "Anselm", "the ferryman")
_VERBS = ("had carried", "was looking for", "remembered", "would not give up", "had hidden", "spoke of", "asked about")
_OBJECTS = ("the lantern", "a letter from the coast", "the key to the barn", "what they had seen", "the grey horse")
_TAILS = (
    "before the rain came down over the valley",
    "and nobody in the house said a word about it",
    "because the winter had been long and the road was bad",
    "while the others were still at the table",
    "as if it were the last thing that mattered to him",
)


def sentences(count: int, rng: random.Random) -> str:
    """English sentences."""
    out = []
    for _ in range(count):
        subject = rng.choice(_SUBJECTS)
        line = f"{subject} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)} {rng.choice(_TAILS)}."
        out.append(line[0].upper() + line[1:])
    return " ".join(out)


def wrap(paragraph: str, width: int = 70) -> str:
    """A paragraph as a typist would break it."""
    lines, line = [], ""
    for word in paragraph.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def prose(paragraphs: int = 12, seed: int = 0, width: int = 70) -> str:
    """Wrapped paragraphs of about seventy words, separated by blank lines."""
    rng = random.Random(seed)
    return "\n\n".join(wrap(sentences(4, rng), width) for _ in range(paragraphs))


def book(headings: list[str], *, title: str = "THE GREY HORSE", author: str = "A. Writer", paragraphs: int = 12) -> str:
    """A novel with these headings (each may span lines), title page first."""
    parts = [f"{title}\n\nby {author}"]
    for number, heading in enumerate(headings):
        parts.append(f"{heading}\n\n\n{prose(paragraphs, seed=number)}")
    return "\n\n\n\n".join(parts) + "\n"


@pytest.fixture
def write(tmp_path: Path):
    """Write text or bytes to a file and return its path."""

    def _write(content: str | bytes, name: str = "book.txt", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return _write
