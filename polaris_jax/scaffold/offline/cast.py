"""Characters and archetypes from counts: where and beside whom they are named, and what the narration says they do."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from polaris_jax.scaffold.analysis.names import Entity
from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.annotator import Context
from polaris_jax.scaffold.offline.notes import note, shorter
from polaris_jax.scaffold.offline.ranking import candidates, rarely_alike, speakers
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import Described

K = TypeVar("K")
_MAIN_SHARE = 0.35  # share of the most named character's mentions that makes a main character


@dataclass(frozen=True)
class Figure:
    """A character in this volume.

    Attributes:
      name: the form used on cards; it occurs in the volume.
      mentions: number of mentions per chapter.
      company: names of others, by number of shared paragraphs, most first.
      speech: chapters in which a speech is tagged with the name.
    """

    entity: Entity
    name: str
    mentions: tuple[int, ...]
    speech: int
    company: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.mentions)


def figures(chapters: Sequence[tuple[str, str]], context: Context) -> tuple[Figure, ...]:
    """Every named person of the volume, most mentioned first."""
    return _figures(tuple(chapters), context)


@lru_cache(maxsize=8)
def _figures(chapters: tuple[tuple[str, str], ...], context: Context) -> tuple[Figure, ...]:
    stats = analyse(context.novel)
    per_chapter = [stats.mentioned(text) for _, text in chapters]
    together: dict[Entity, Counter[Entity]] = {}
    near: set[Entity] = set()
    for paragraph in context.volume.split("\n\n"):
        people = {entity for entity, _, _ in stats.mentions(paragraph) if entity.person}
        for entity in people:
            together.setdefault(entity, Counter()).update(people - {entity})
            near.add(entity)
    talk = Counter(entity for _, text in chapters for entity in speakers(text, stats))
    found, used = [], set()
    for entity in stats.people:
        name = entity.form_in(context.volume)
        if entity not in near or not name or name in used or not 1 <= len(name) <= 120:
            continue
        used.add(name)
        company = [form for other, _ in _ranked(together[entity]) if (form := other.form_in(context.volume))]
        found.append(
            Figure(
                entity,
                name,
                tuple(counts[entity] for counts in per_chapter),
                talk[entity],
                tuple(company[:3]),
            )
        )
    return tuple(sorted(found, key=lambda figure: (-figure.total, figure.name)))


def _ranked(counts: Counter[K], worth: Callable[[K, int], float] = lambda item, n: n) -> list[tuple[K, int]]:
    return sorted(counts.items(), key=lambda pair: (-worth(*pair), str(getattr(pair[0], "aliases", pair[0]))))


def deeds(figure: Figure, context: Context, bound: Bound, used: set[str]) -> list[str]:
    """Notes on what a character does in the narration; they are added to ``used``."""
    stats = analyse(context.novel)
    lines: list[str] = []
    aliases = figure.entity.aliases
    own = [c for c in candidates(context.volume, context.novel) if c.subject in aliases or c.text.startswith(aliases)]
    for candidate in sorted(own, key=lambda c: (-c.score, c.place))[: 8 + 4 * bound.count]:
        if len(lines) >= max(1, bound.count - 1):
            break
        line = note(candidate.text, stats, bound.words, dict(candidate.referents))
        line = shorter(line, stats, bound.words, used) if line else None
        if line and len(line.split()) >= 6 and line.startswith(aliases) and rarely_alike(line, lines):
            lines.append(line)
            used.add(line)
    return lines


def count_line(figure: Figure, chapters: Sequence[tuple[str, str]], context: Context, used: set[str]) -> str:
    """A line on where a character is named and beside whom; it is added to ``used``."""
    stats = analyse(context.novel)
    present = [name for (name, _), n in zip(chapters, figure.mentions, strict=True) if n]
    beside = f", most often beside {figure.company[0]}" if figure.company else ""
    count = f"named {figure.total} time{'s' * (figure.total > 1)} in {len(present)} of {len(chapters)} chapters"
    forms = [f"{figure.name} is {count}{beside}."]
    forms += [f"{count.capitalize()}, first in {name}." for name in present[:1]]
    fit = [line for line in forms if line not in used and stats.copies(line) is None]
    line = fit[0] if present and fit else f"{figure.name} is named in the volume."
    used.add(line)
    return line


def characters(
    chapters: Sequence[tuple[str, str]],
    context: Context,
    main: int,
    side: int,
    bound: Bound,
    used: set[str],
    counted: int = 99,
) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
    """Main and side characters; a first-person narrator is the first main character. Their lines are added to ``used``.

    ``counted`` of them get a line of counts: first those with no other line, then the others, most named first. Side
    characters without any line are left out.
    """
    stats = analyse(context.novel)
    cast = figures(chapters, context)
    leads = [figure for figure in cast if figure.total >= _MAIN_SHARE * cast[0].total]
    narrator = stats.first_person
    leads = leads[: max(1, min(main - narrator, len(cast) - 1))] if main > narrator else []
    others = [figure for figure in cast if figure not in leads][:side]
    everybody = (*leads, *others)
    lines = [deeds(figure, context, bound, used) for figure in everybody]
    for place, number in enumerate(sorted(range(len(lines)), key=lambda number: (bool(lines[number]), number))):
        room = place < counted and len(lines[number]) < bound.count
        if room or (not lines[number] and number < len(leads)):
            lines[number].append(count_line(everybody[number], chapters, context, used))
    made = [Described(figure.name, tuple(own)) if own else None for figure, own in zip(everybody, lines, strict=True)]
    first = [person for person in made[: len(leads)] if person]
    if narrator:
        first.insert(0, Described("The Narrator", ("Tells the story in the first person.",)))
    if not first:
        first = [Described("The Central Figure", ("No person of this volume is named.",))]
    second = [person for person in made[len(leads) :] if person]
    return tuple(first), tuple(second) or (Described("The Bystanders", ("No further person is named.",)),)


def archetypes(
    chapters: Sequence[tuple[str, str]], context: Context, count: int, bound: Bound
) -> tuple[Described, ...]:
    """Archetypes that follow from counts, without proper names: who is named most, who speaks most, who comes late."""
    cast, total = figures(chapters, context), len(chapters)
    made: list[Described] = []
    if analyse(context.novel).first_person:
        made.append(Described("The Narrator", ("Says I and tells what one person sees and hears.",)))
    free, told = list(cast[:12]), set[str]()

    def take(label: str, fits: Callable[[Figure], Any], best: Callable[[Figure], float]) -> None:
        pool = [figure for figure in free if fits(figure)]
        if not pool or len(made) >= count:
            return
        figure = max(pool, key=lambda f: (best(f), f.total, f.name))
        free.remove(figure)
        seen = [number for number, n in enumerate(figure.mentions, 1) if n]
        lines = [f"{figure.total} mentions in {len(seen)} of {total} chapters, from chapter {seen[0]} to {seen[-1]}."]
        lines += [f"Tagged by name as a speaker in {figure.speech} chapters."] if figure.speech > 1 else []
        fresh = [line for line in lines if line not in told]
        if fresh:
            told.update(fresh)
            made.append(Described(label, tuple(fresh[: max(1, bound.count)])))

    half = total // 2
    take("The Most Named", lambda f: f.total, lambda f: f.total)
    take("The One Beside Them", lambda f: cast and cast[0].name in f.company, lambda f: f.total)
    take("The Speaker", lambda f: f.speech > 0, lambda f: f.speech)
    take("The Latecomer", lambda f: half and f.total and not any(f.mentions[:half]), lambda f: f.total)
    take("The One Who Leaves Early", lambda f: half and f.total and not any(f.mentions[-half:]), lambda f: f.total)
    take("The One Without Speech", lambda f: f.total and f.speech == 0, lambda f: f.total)
    take("A Further Figure", lambda f: f.total, lambda f: f.total)
    return tuple(made[: max(1, count)]) or (Described("The Unnamed", ("No person of this volume is named.",)),)
