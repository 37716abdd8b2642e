"""A small complete book, written out by hand, and its transcript."""

import sys
from pathlib import Path

import pytest

from polaris_jax.trajectory import Arc, Book, Chapter, Described, Scene, Vector, render

sys.path.insert(0, str(Path(__file__).parent))

_WORDS = "A keeper counts the ships that pass a lamp nobody has asked him to light and tells no one why he stays "
_VECTOR = Vector(10, 20, 30, 40, 0, 0, 50)


def _chapter(name: str, words: int) -> Chapter:
    scenes = tuple(
        Scene(f"{part} of {name}", 100, _VECTOR, ("the lamp", "a debt"), "Third person", ("He lights it.", "He waits."))
        for part in ("Dusk", "Dawn")
    )
    text = " ".join(["sea"] * (words - 2)) + ".\n\nThe end."
    return Chapter(name, words, _VECTOR, ("the lamp",), ("He keeps the light.", "A ship comes."), scenes, text)


@pytest.fixture
def toy_book() -> Book:
    chapters = (_chapter("Chapter 1: The Lamp", 200), _chapter("Chapter 2: The Ship", 200), _chapter("3", 150))
    return Book(
        prompt="Write about a lamp.",
        highlight=(_WORDS * 3).strip(),
        title="The Lamp",
        tags=("sea", "night", "duty", "debt", "quiet tone", "island life", "old age"),
        archetype=(_WORDS * 3).strip(),
        world_rules=("Ships pass only at night.", "Oil is rationed."),
        arcs=(
            Arc(
                "Keeping",
                ("He keeps.",),
                ("He keeps the lamp.",),
                ("He keeps the lamp lit.",),
                (chapters[0].name, chapters[1].name),
            ),
            Arc("Leaving", ("He leaves.",), ("He leaves the lamp.",), ("He leaves it to burn.",), (chapters[2].name,)),
        ),
        character_archetypes=(Described("The Keeper", ("Stays.",)), Described("The Stranger", ("Comes.", "Goes."))),
        writing_style=("Plain.", "Short sentences."),
        chapters=chapters,
        main_characters=(Described("Orrin", ("Keeps the lamp.",)),),
        side_characters=(Described("Mara", ("Brings oil.",)), Described("The Captain", ("Never lands.",))),
    )


@pytest.fixture
def transcript(toy_book) -> str:
    return render(toy_book)
