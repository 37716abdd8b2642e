"""The offline annotator: no model, no network, the same notes every time.

It extracts rather than invents: notes are rewritten sentences of the book, and everything else is counted. The craft
is in ``notes`` (rewriting), ``ranking`` (choosing), ``cast``, ``world`` and ``pitch`` (counting).
"""

from collections import Counter
from collections.abc import Sequence

from polaris_jax.scaffold import cast, pitch, vectors, world
from polaris_jax.scaffold.annotator import Bound, Context, Preview
from polaris_jax.scaffold.lexicons import word_set
from polaris_jax.scaffold.notes import content, original, speaks
from polaris_jax.scaffold.ranking import conversation, notes_from, rarely_alike
from polaris_jax.scaffold.study import noun_phrases, study
from polaris_jax.trajectory import Described, Vector

_SMALL = word_set("a an the of in on at to and for")


def _title_case(phrase: str) -> str:
    parts = phrase.split()
    return " ".join(w if i and w.lower() in _SMALL else w[:1].upper() + w[1:] for i, w in enumerate(parts))


class DeterministicAnnotator:
    """Implements ``Annotator`` with counting and rewriting only."""

    name = "deterministic"

    def vector(self, text: str, context: Context) -> Vector:
        return vectors.score(text, study(context.novel).quotes)

    def _people(self, text: str, context: Context) -> list[str]:
        counts = study(context.novel).mentioned(text)
        people = sorted((e for e in counts if e.person), key=lambda e: (-counts[e], e.aliases))
        return [form for entity in people if (form := entity.form_in(text, full=False))]

    def _things(self, text: str, context: Context) -> list[str]:
        scores = noun_phrases(text, study(context.novel))
        ranked = sorted(scores, key=lambda phrase: (-scores[phrase], phrase))
        picked: list[str] = []
        for phrase in ranked[:40]:
            if not any(set(phrase.split()) & set(other.split()) for other in picked):
                picked.append(phrase)
        return picked

    def _labels(self, text: str, context: Context) -> list[str]:
        """Names a passage could bear, the most telling first."""
        people, things = self._people(text, context), self._things(text, context)
        places = [
            f for e in study(context.novel).mentioned(text) if not e.person and (f := e.form_in(text, full=False))
        ]
        labels = [f"The {_title_case(things[0])}"] if things else []
        labels += [f"{people[0]} and the {_title_case(thing)}" for thing in things[:3]] if people else []
        labels += [f"The {_title_case(thing)}" for thing in things[1:4]]
        labels += [f"{people[0]} and {people[1]}"] if len(people) > 1 else []
        labels += [f"{person} at {place}" for person in people[:1] for place in places[:1] if person != place]
        labels += [f"The {_title_case(thing)}" for thing in things[4:12]] + people
        return [label for label in labels if len(label) <= 100]

    def heading(self, text: str, context: Context, taken: frozenset[str]) -> str:
        for label in self._labels(text, context):
            if label not in taken:
                return label
        number = 1 + sum(name.startswith("A Quiet Passage") for name in taken)
        return "A Quiet Passage" if number == 1 else f"A Quiet Passage ({number})"

    def focuses(self, text: str, context: Context, limit: int) -> tuple[str, ...]:
        people, things = self._people(text, context), self._things(text, context)
        items = []
        for index in range(3):
            if index < len(people):
                linked = index < len(things) and index == 0
                items.append(f"{people[index]} and the {things[0]}" if linked else people[index])
            if index < len(things) and (index or not people):
                items.append(f"the {things[index]}")
        return tuple(dict.fromkeys(item for item in items if len(item) <= 65))[:limit] or ("the course of events",)

    def perspective(self, text: str, context: Context) -> str:
        known = study(context.novel)
        tense = "past" if known.past else "present"
        if known.first_person:
            return f"First person {tense} tense, the narrator"
        people = self._people(text, context)
        return f"Third person {tense} tense, {people[0] if people else 'no single focal character'}"

    def summary(self, text: str, context: Context, bound: Bound, skip: frozenset[str] = frozenset()) -> tuple[str, ...]:
        lines = notes_from(text, context.novel, bound.count, bound.words, skip)
        known = study(context.novel)
        if len(lines) < bound.count and (spoken := conversation(text, context.novel)) and rarely_alike(spoken, lines):
            lines.append(spoken)
        if not lines:
            things = self._things(text, context)[:2]
            lines = [f"The passage dwells on {' and '.join('the ' + t for t in things)}."] if things else []
        lines = [line for line in lines if known.copies(line) is None]
        return tuple(lines) or ("A short passage carries the story onward.",)

    def compress(self, bullets: Sequence[str], context: Context, bound: Bound) -> tuple[str, ...]:
        known = study(context.novel)
        step = max(1.0, len(bullets) / bound.count)
        weights = [
            sum(known.weight(word) for word in content(line)) / (4 + len(line.split()))
            + 0.8 * (not known.name_parts.isdisjoint(line.split()))
            for line in bullets
        ]
        chosen = []
        for stretch in range(min(bound.count, len(bullets))):
            window = range(
                int(stretch * step), max(int(stretch * step) + 1, min(len(bullets), int((stretch + 1) * step)))
            )
            chosen.append(max(window, key=lambda i: (weights[i], -i)))
        lines = []
        for index in chosen:
            line = bullets[index].rstrip(".")
            if len(line.split()) > bound.words:
                head = line.split(", ")[0]
                line = head if 5 <= len(head.split()) <= bound.words and speaks(head, known) else line
            lines.append(original(line, known) or bullets[index])
        return tuple(lines)

    def arc_starts(self, chapters: Sequence[str], context: Context, arcs: int) -> tuple[int, ...]:
        """Near-equal runs of words; each border moves by one chapter to where the cast changes most."""
        known = study(context.novel)
        sizes = [len(text.split()) for text in chapters]
        casts = [known.mentioned(text) for text in chapters]
        starts, total, arcs = [0], sum(sizes), min(arcs, len(chapters))
        for arc in range(1, arcs):
            goal, reached, border = total * arc / arcs, 0, 0
            while border < len(sizes) and reached + sizes[border] / 2 < goal:
                reached += sizes[border]
                border += 1
            low, high = starts[-1] + 1, len(chapters) - (arcs - arc)
            options = [b for b in (border, border - 1, border + 1) if low <= b <= high] or [min(max(border, low), high)]
            starts.append(min(options, key=lambda b: (round(_shared(casts[b - 1], casts[b]), 6), abs(b - border), b)))
        return tuple(starts)

    def world_rules(self, context: Context, bound: Bound) -> tuple[str, ...]:
        return world.rules(context, bound)

    def writing_style(self, context: Context, bound: Bound) -> tuple[str, ...]:
        return world.style(context, bound)

    def characters(
        self, chapters: Sequence[tuple[str, str]], context: Context, main: int, side: int, bound: Bound
    ) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
        return cast.characters(chapters, context, main, side, bound)

    def archetypes(
        self, chapters: Sequence[tuple[str, str]], context: Context, count: int, bound: Bound
    ) -> tuple[Described, ...]:
        return cast.archetypes(chapters, context, count, bound)

    def preview(
        self, facts: Sequence[str], chapters: Sequence[tuple[str, str]], context: Context, words: tuple[int, int]
    ) -> Preview:
        return pitch.preview(facts, context, chapters, words)

    def prompts(
        self,
        preview: Preview,
        facts: Sequence[str],
        chapters: Sequence[tuple[str, str]],
        context: Context,
        most_words: int,
    ) -> tuple[str, ...]:
        return pitch.prompts(preview, facts, context, chapters, most_words)


def _shared(a: Counter, b: Counter) -> float:
    """Cosine of two counters, 0 when either is empty."""
    norm = (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5
    return sum(n * b[key] for key, n in a.items()) / norm if norm else 0.0
