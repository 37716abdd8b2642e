"""Random books for the property tests: every list length, character and vector that a strict transcript allows."""

import random

from hypothesis import strategies as st

from polaris_jax.trajectory import Arc, Book, Chapter, Described, Scene, Vector
from polaris_jax.trajectory import elements as e
from polaris_jax.trajectory.words import LEGAL_COUNTS

_LETTERS = st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters="<", max_codepoint=0x17F)


def _fits(text: str) -> bool:
    return text == text.strip() and bool(text) and not text.startswith(("#", "`"))


def line(longest: int, barred: str = ""):
    """One canonical line."""
    cleaned = st.text(_LETTERS, min_size=1, max_size=min(longest, 20)).map(
        lambda text: "".join(char for char in text if char not in barred).strip().lstrip("#`").strip()
    )
    return cleaned.filter(_fits) | st.just("x")


def bullets(most: int):
    return st.lists(line(300), min_size=1, max_size=min(most, 3)).map(tuple)


def grammar(node):
    """Members of a grammar, drawn through its own sampler."""
    return st.integers(0, 2**32).map(lambda seed: " ".join(node.sample(random.Random(seed)).split()))


vectors = st.tuples(*[st.integers(0, 99)] * 7).map(lambda values: Vector(*values))
counts = st.sampled_from(LEGAL_COUNTS)
focuses = st.lists(line(65, ";"), min_size=1, max_size=3).map(tuple)
described = st.builds(Described, line(120), bullets(10))
people = st.lists(described, min_size=1, max_size=2, unique_by=lambda thing: thing.name).map(tuple)
scenes = st.lists(st.builds(Scene, line(120), counts, vectors, focuses, line(200), bullets(20)), min_size=1, max_size=2)
prose = st.lists(line(300), min_size=1, max_size=3).map("\n\n".join)


@st.composite
def books(draw, chapters: tuple[int, int] = (2, 4)) -> Book:
    """A full book that renders to a strict-valid transcript."""
    total = draw(st.integers(*chapters))
    names = draw(st.lists(line(120), min_size=total, max_size=total, unique=True))
    parts = [
        Chapter(name, draw(counts), draw(vectors), draw(focuses), draw(bullets(80)), tuple(draw(scenes)), draw(prose))
        for name in names
    ]
    cut = draw(st.integers(1, total))
    groups = [group for group in (names[:cut], names[cut:]) if group]
    arcs = tuple(
        Arc(draw(line(120)), draw(bullets(20)), draw(bullets(40)), draw(bullets(80)), tuple(group)) for group in groups
    )
    return Book(
        draw(line(300)),
        draw(grammar(e.highlight)),
        draw(grammar(e.title)),
        tuple(draw(grammar(e.tag)) for _ in range(7)),
        draw(grammar(e.archetype)),
        draw(bullets(90)),
        arcs,
        draw(people),
        draw(bullets(40)),
        tuple(parts),
        draw(people),
        draw(people),
    )
