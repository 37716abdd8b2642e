"""Characters and archetypes from counts: who is named where, with whom, near which words."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from polaris_jax.scaffold.annotator import Context
from polaris_jax.scaffold.lexicons import AUTHORITY, FUNCTION_WORDS, ROLES, word_set
from polaris_jax.scaffold.names import Entity
from polaris_jax.scaffold.notes import content, note
from polaris_jax.scaffold.profile import Bound
from polaris_jax.scaffold.ranking import candidates, listing, rarely_alike, speakers
from polaris_jax.scaffold.study import Study, study
from polaris_jax.trajectory import Described

_OLD = word_set("old aged elderly grey gray wrinkled stooped ancient grandmother grandfather gran")
_YOUNG = word_set("boy girl child young lad lass youth school nursery schoolboy little")
_MAIN_SHARE = 0.35  # of the most named character's mentions


@dataclass(frozen=True)
class Figure:
    """A character in this volume.

    Attributes:
      name: the form used on cards; it occurs in the volume.
      mentions: per chapter.
      company: names of others, by shared paragraphs, closest first.
      things: nouns near the name.
      age: words of age near the name, negative for old, positive for young.
    """

    entity: Entity
    name: str
    mentions: tuple[int, ...]
    speech: int
    company: tuple[str, ...]
    things: tuple[str, ...]
    age: int

    @property
    def total(self) -> int:
        return sum(self.mentions)


def figures(chapters: Sequence[tuple[str, str]], context: Context) -> tuple[Figure, ...]:
    """Every named person of the volume, most mentioned first."""
    return _figures(tuple(chapters), context)


@lru_cache(maxsize=8)
def _figures(chapters: tuple[tuple[str, str], ...], context: Context) -> tuple[Figure, ...]:
    known = study(context.novel)
    per_chapter = [known.mentioned(text) for _, text in chapters]
    together: dict[Entity, Counter[Entity]] = {}
    near: dict[Entity, Counter[str]] = {}
    for paragraph in context.volume.split("\n\n"):
        people = {entity for entity, _, _ in known.mentions(paragraph) if entity.person}
        tokens = [word for word in re.findall(r"[^\W_]+", paragraph.lower()) if word not in FUNCTION_WORDS]
        for entity in people:
            together.setdefault(entity, Counter()).update(people - {entity})
            near.setdefault(entity, Counter()).update(tokens)
    talk = Counter(entity for _, text in chapters for entity in speakers(text, known))
    found, used = [], set()
    for entity in known.people:
        name = entity.form_in(context.volume)
        if entity not in near or not name or name in used or not 1 <= len(name) <= 120:
            continue
        used.add(name)
        company = [form for other, _ in _ranked(together[entity]) if (form := other.form_in(context.volume))]
        things = [
            w
            for w, _ in _ranked(near[entity], lambda w, n: n * known.weight(w))
            if w in known.nouns and known.weight(w) > 1
        ]
        age = sum(near[entity][w] for w in _YOUNG) - sum(near[entity][w] for w in _OLD)
        found.append(Figure(
            entity, name, tuple(counts[entity] for counts in per_chapter), talk[entity], tuple(company[:3]),
        tuple(things[:3]), age, ))  # fmt: skip
    return tuple(sorted(found, key=lambda figure: (-figure.total, figure.name)))


def _ranked(counts: Counter, worth=lambda item, n: n) -> list:
    return sorted(counts.items(), key=lambda pair: (-worth(*pair), str(getattr(pair[0], "aliases", pair[0]))))


def role_of(figure: Figure, known: Study, text: str) -> str | None:
    """What the text calls a person: ``Mr Pruett, the Corporation's solicitor`` or ``Silas was the best mason``."""
    for alias in figure.entity.aliases:
        stated = rf"{re.escape(alias)}(?:,| was| is|’s|) ((?:the|a|an|his|her|their) [^,.;:—“”\n]{{3,60}})"
        for match in re.finditer(stated, text):
            phrase = match.group(1).split()[:7]
            heads = [i for i, word in enumerate(phrase) if word.lower() in ROLES - {"man", "woman", "men"}]
            if heads and heads[0] <= 3 and match.group(0)[len(alias) :][:1] in ", ":
                line = " ".join(phrase[: heads[0] + 1])
                if " " in line and known.copies(line) is None and not {"not", "whose"} & set(phrase):
                    return line
    return None


def describe(
    figure: Figure, chapters: Sequence[tuple[str, str]], context: Context, bound: Bound, used: list[str]
) -> Described:
    """A character with bullets: role, a deed, company, things, and where they appear."""
    known = study(context.novel)
    lines: list[str] = []
    if role := role_of(figure, known, context.volume):
        lines.append(f"Is known in the story as {role}.")
    aliases = figure.entity.aliases
    own = [c for c in candidates(context.volume, context.novel) if c.subject in aliases or c.text.startswith(aliases)]
    for candidate in sorted(own, key=lambda c: (-c.score, c.place))[:8]:
        line = note(candidate.text, known, bound.words, dict(candidate.referents))
        if line and len(line.split()) >= 6 and line.startswith(aliases) and rarely_alike(line, used):
            lines.append(line)
            used.append(line)
            break
    if figure.company:
        lines.append(f"Is most often seen with {listing(list(figure.company[:2]))}.")
    if len(figure.things) > 1:
        lines.append(f"Belongs to the scenes about {listing(['the ' + thing for thing in figure.things])}.")
    present = [name for (name, _), n in zip(chapters, figure.mentions, strict=True) if n]
    if present:
        whole = "every chapter" if len(present) == len(chapters) else f"{len(present)} of {len(chapters)} chapters"
        lines.append(f"Appears in {whole} and is named {figure.total} time{'s' * (figure.total > 1)}.")
    if figure.speech:
        lines.append(
            "Takes a speaking part more than once." if figure.speech > 1 else "Has a small but distinct speaking part."
        )
    kept = [line for line in lines if known.copies(line) is None and len(line.split()) <= max(bound.words, 14)]
    return Described(figure.name, tuple(kept[: bound.count]) or ("Is named in passing and never explained.",))


def characters(
    chapters: Sequence[tuple[str, str]], context: Context, main: int, side: int, bound: Bound
) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
    """Main and side characters; a first-person teller is the first of the main ones."""
    known = study(context.novel)
    cast = figures(chapters, context)
    used: list[str] = []
    leads = [figure for figure in cast if figure.total >= _MAIN_SHARE * cast[0].total]
    narrator = known.first_person
    leads = leads[: max(1, min(main - narrator, len(cast) - 1))] if main > narrator else []
    others = [figure for figure in cast if figure not in leads][:side]
    first = [describe(figure, chapters, context, bound, used) for figure in leads]
    if narrator:
        nearest = f" and watches {leads[0].name} closely" if leads else ""
        first.insert(0, Described("The Narrator", (f"Tells the story in the first person{nearest}.",)))
    if not first:
        first = [Described("The Central Figure", ("Carries the story without being given a name here.",))]
    second = [describe(figure, chapters, context, bound, used) for figure in others]
    return tuple(first), tuple(second) or (Described("The Bystanders", ("Stand around the story and stay unnamed.",)),)


_ARCHETYPES = {
    "The Teller": ("Speaks as I and knows only what one pair of eyes can see.",
                   "Arranges the events afterwards and decides what the reader may learn first."),
    "The Driving Figure": ("Is present wherever the story turns, and most decisions pass through these hands.",
                           "Wants something plain and pays for it in ways that were not foreseen."),
    "The Close Companion": ("Stays near the central figure and shares the risk of each step.",
                            "Sees the weakness of the other and is loyal in spite of it."),
    "The Voice of Authority": ("Bears a title, expects to be obeyed, and is judged by how the power is used.",
                               "Speaks for an order that existed before the story began."),
    "The Elder": ("Remembers what the others have forgotten or never knew.", "Gives little away and gives it late."),
    "The Young Onlooker": ("Is still learning the rules and therefore notices them.",
                           "Asks the straight question that older people avoid."),
    "The Talker": ("Fills the scene with speech and steers others by it.", "Reveals more in passing than on purpose."),
    "The Latecomer": ("Arrives when the pattern is already set and disturbs it.",
                      "Forces a choice that the others had put off."),
    "The Quiet Presence": ("Says little and is felt mainly through what is done.",
                           "Stands at the edge of events and outlasts them."),
    "The Community": (
        "Watches, judges and remembers as one body.",
        "Closes around its own when a stranger asks questions.",
    ),
}  # fmt: skip


def archetypes(
    chapters: Sequence[tuple[str, str]], context: Context, count: int, bound: Bound
) -> tuple[Described, ...]:
    """Roles this cast plays, without proper names; the first bullet of each is tied to what its figure is seen with."""
    cast = figures(chapters, context)
    half = len(chapters) // 2
    wanted: list[tuple[str, Figure | None]] = [("The Teller", None)] if study(context.novel).first_person else []
    free = list(cast[:12])

    def take(label: str, fits, best) -> None:
        pool = [figure for figure in free if fits(figure)]
        if pool:
            figure = max(pool, key=lambda f: (best(f), f.total, f.name))
            free.remove(figure)
            wanted.append((label, figure))

    take("The Driving Figure", lambda f: True, lambda f: f.total)
    lead = cast[0].name if cast else ""
    take(
        "The Voice of Authority",
        lambda f: AUTHORITY & set(" ".join(f.entity.aliases).lower().replace(".", "").split()),
        lambda f: f.total,
    )
    take("The Close Companion", lambda f: lead in f.company, lambda f: f.total)
    take("The Elder", lambda f: f.age < -1, lambda f: -f.age)
    take("The Young Onlooker", lambda f: f.age > 1, lambda f: f.age)
    take("The Talker", lambda f: f.speech > 0, lambda f: f.speech / (1 + f.total))
    take("The Latecomer", lambda f: half and not any(f.mentions[:half]), lambda f: f.total)
    take("The Quiet Presence", lambda f: f.speech == 0, lambda f: f.total)
    wanted.append(("The Community", None))
    names = content(" ".join(alias for figure in cast for alias in figure.entity.aliases))
    result = []
    for label, figure in wanted[: max(1, count)]:
        lines = list(_ARCHETYPES[label])
        things = [thing for thing in figure.things if thing not in names][:2] if figure else []
        if things:
            lines.insert(1, f"Is tied to {listing(['the ' + thing for thing in things])}.")
        result.append(Described(label, tuple(lines[: max(1, bound.count)])))
    return tuple(result)
