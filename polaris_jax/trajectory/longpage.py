"""Import and export of LongPage records, the published one-row-per-book form (trajectory specification 3).

A LongPage record has one arc resolution and does not say which chapters an arc holds, so a book imported from one
renders as a 24B first-chapter trajectory. Our export adds the missing fields under additional keys (``arcs``,
``narrative_focuses``, ``word_count``, ``text_span``, ``provenance``); a record that has them is imported completely.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from itertools import accumulate
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.trajectory.book import DIMENSIONS, Arc, Book, Chapter, Described, Scene, Vector
from polaris_jax.trajectory.elements import MAX_FOCUSES
from polaris_jax.trajectory.words import bin_word_count, count_words


def to_longpage(book: Book) -> dict:
    """A JSON-ready LongPage record; ``arc_summary`` is the medium resolution.

    Raises:
      InputError: two chapters or two archetypes share a name; both are keyed by name.
    """
    for field, things in (("book.chapters", book.chapters), ("book.character_archetypes", book.character_archetypes)):
        for name, times in Counter(thing.name for thing in things).items():
            if times > 1:
                raise InputError(field, name, "names must be unique in a LongPage record")
    return {
        "use_prompt": book.prompt,
        "book_highlight": book.highlight,
        "book_title": book.title,
        "book_tags": list(book.tags),
        "book_archetype": book.archetype,
        "world_rules": list(book.world_rules),
        "story_arcs": [{"arc_name": arc.title, "arc_summary": list(arc.medium or arc.short)} for arc in book.arcs],
        "character_archetypes": {thing.name: list(thing.bullets) for thing in book.character_archetypes},
        "writing_style": list(book.writing_style),
        "book_characters": {
            group: [{"name": person.name, "description": list(person.bullets)} for person in people]
            for group, people in (
                ("main_characters", book.main_characters),
                ("side_characters", book.side_characters),
            )
        },
        "book_chapters": {chapter.name: _chapter_out(chapter) for chapter in book.chapters},
        "arcs": [
            {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(arc).items()}
            for arc in book.arcs
        ],
        "provenance": dict(book.provenance),
    }


def _chapter_out(chapter: Chapter) -> dict:
    texts = [scene.text for scene in chapter.scenes]
    stops = list(accumulate(map(len, texts)))
    located = bool(texts) and "".join(texts) == chapter.text
    return {
        "chapter": chapter.text,
        "embedding_space": asdict(chapter.vector),
        "chapter_summary": list(chapter.summary),
        "scene_breakdown": [
            {
                "scene_name": scene.name,
                "word_count": scene.word_count,
                "embedding_space": asdict(scene.vector),
                "narrative_focus": "; ".join(scene.focuses),
                "narrative_perspective": scene.perspective,
                "scene_summary_short": list(scene.summary),
                **({"text_span": [stop - len(scene.text), stop]} if located else {}),
            }
            for scene, stop in zip(chapter.scenes, stops, strict=True)
        ],
        "narrative_focuses": list(chapter.focuses),
        "word_count": chapter.word_count,
        "word_count_raw": count_words(chapter.text),
    }


def from_longpage(record: dict) -> Book:
    """A book from either published form: arcs, archetypes and characters are structured, or plain strings.

    Line breaks inside one-line fields become spaces, vectors are clipped to 0-99, and counts are rounded to legal bins.

    Raises:
      InputError: a key is missing or has the wrong type; the error names it.
    """
    people = record.get("book_characters", {})
    if not isinstance(people, dict):
        people = {"main_characters": people, "side_characters": []}
    chapters = _need(record, "book_chapters", dict)
    return Book(
        prompt=_need(record, "use_prompt", str),
        highlight=_line(_need(record, "book_highlight", str)),
        title=_line(_need(record, "book_title", str)),
        tags=_lines(_need(record, "book_tags", list)),
        archetype=_line(_need(record, "book_archetype", str)),
        world_rules=_lines(_need(record, "world_rules", list)),
        arcs=_arcs(record),
        character_archetypes=_described(_need(record, "character_archetypes", (dict, list, str))),
        writing_style=_lines(_need(record, "writing_style", list)),
        chapters=tuple(_chapter_in(_line(name), chapter) for name, chapter in chapters.items()),
        main_characters=_described(people.get("main_characters", [])),
        side_characters=_described(people.get("side_characters", [])),
        provenance=dict(record.get("provenance", {})),
    )


def _arcs(record: dict) -> tuple[Arc, ...]:
    if "arcs" in record:
        return tuple(
            Arc(_line(arc["title"]), *(_lines(arc[key]) for key in ("short", "medium", "long", "chapter_names")))
            for arc in record["arcs"]
        )
    arcs = _need(record, "story_arcs", (list, str))
    if isinstance(arcs, list) and all(isinstance(arc, dict) for arc in arcs):
        pairs = [(_need(arc, "arc_name", str), _listed(arc.get("arc_summary", []))) for arc in arcs]
    else:
        pairs = [(thing.name, list(thing.bullets)) for thing in _described(arcs)]
    # Some records number their arcs in the name; the transcript numbers them itself.
    return tuple(Arc(_line(re.sub(r"^Arc \d+: *", "", name)), _lines(summary), (), (), ()) for name, summary in pairs)


def _described(value: Any) -> tuple[Described, ...]:
    """Named things with bullets: a mapping, a list of objects, or ``Name: text`` strings."""
    if isinstance(value, dict):
        return tuple(Described(_line(name), _lines(_listed(bullets))) for name, bullets in value.items())
    things = []
    for item in _listed(value):
        if isinstance(item, dict):
            name, bullets = _need(item, "name", str), _listed(item.get("description", []))
        else:
            name, colon, rest = item.strip().lstrip("-# ").partition(":")
            bullets = [rest if colon and rest.strip() else item]
        things.append(Described(_line(name)[:120], _lines(bullets)))
    return tuple(things)


def _chapter_in(name: str, chapter: dict) -> Chapter:
    field = f"book_chapters.{name}"
    text = re.sub(r"\n{3,}", "\n\n", _trimmed(_need(chapter, "chapter", str, field)))
    same = text == chapter["chapter"]  # else the scenes' spans no longer match
    scenes = tuple(
        _scene_in(scene, text if same else "", f"{field}.scene_breakdown")
        for scene in _need(chapter, "scene_breakdown", list, field)
    )
    focuses = chapter.get("narrative_focuses") or dict.fromkeys(focus for scene in scenes for focus in scene.focuses)
    return Chapter(
        name=name,
        word_count=bin_word_count(chapter.get("word_count") or count_words(text)),
        vector=_vector(_need(chapter, "embedding_space", dict, field)),
        focuses=_lines(focuses)[:MAX_FOCUSES],
        summary=_lines(_need(chapter, "chapter_summary", list, field)),
        scenes=scenes,
        text=text,
    )


def _scene_in(scene: dict, text: str, field: str) -> Scene:
    start, stop = scene.get("text_span", (0, 0))
    return Scene(
        name=_line(_need(scene, "scene_name", str, field)),
        word_count=bin_word_count(_need(scene, "word_count", int, field)),
        vector=_vector(_need(scene, "embedding_space", dict, field)),
        focuses=_lines(_need(scene, "narrative_focus", str, field).split("; ")),
        perspective=_line(_need(scene, "narrative_perspective", str, field)),
        summary=_lines(_need(scene, "scene_summary_short", list, field)),
        text=text[start:stop],
    )


def _vector(values: dict) -> Vector:
    return Vector(*(min(max(round(values.get(dimension, 0)), 0), 99) for dimension in DIMENSIONS))


def _need(record: dict, key: str, kind: type | tuple[type, ...], field: str = "record") -> Any:
    if not isinstance(record, dict) or not isinstance(record.get(key), kind):
        found = record.get(key) if isinstance(record, dict) else record
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise InputError(f"{field}.{key}", found, f"must be a {' or '.join(k.__name__ for k in kinds)}")
    return record[key]


def _listed(value: str | Iterable[Any]) -> list:
    """A list as it is; a string as its non-blank lines."""
    return [line for line in value.split("\n") if line.strip()] if isinstance(value, str) else list(value)


def _line(text: str) -> str:
    return re.sub(r"[ \t]*[\r\n]+[ \t]*", " ", text).strip()


def _lines(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(line for line in map(_line, items) if line)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))
