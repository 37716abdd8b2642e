"""The offline annotator: no model, no network, the same notes every time.

It extracts rather than invents: notes are rewritten sentences of the book, and everything else is counted. The craft
is in ``notes`` (rewriting), ``ranking`` (choosing), ``cast``, ``world`` and ``pitch`` (counting).
"""

from collections import Counter
from collections.abc import Sequence

from polaris_jax.scaffold import cast, limits, pitch, vectors, world
from polaris_jax.scaffold.annotator import Annotation, Context, Preview, Progress, Task
from polaris_jax.scaffold.assemble import NO_SUMMARY, chapter_card, legal_preview, scene_card
from polaris_jax.scaffold.drafts import Draft, fit_scenes
from polaris_jax.scaffold.lexicons import word_set
from polaris_jax.scaffold.notes import content, original, speaks
from polaris_jax.scaffold.profile import Bound, Detail, share
from polaris_jax.scaffold.ranking import conversation, notes_from, rarely_alike
from polaris_jax.scaffold.study import noun_phrases, study
from polaris_jax.trajectory import Arc, Chapter, Described, Scene, Vector

_SMALL = word_set("a an the of in on at to and for")


def _title_case(phrase: str) -> str:
    parts = phrase.split()
    return " ".join(w if i and w.lower() in _SMALL else w[:1].upper() + w[1:] for i, w in enumerate(parts))


class DeterministicAnnotator:
    """Implements ``Annotator`` with counting and rewriting only; every field can also be asked for alone.

    Cards are written top-down: the chapter first, then its scenes, whose notes avoid repeating it.
    """

    name = "deterministic"
    version = "1"

    def annotate(self, task: Task, progress: Progress | None = None) -> Annotation:
        context, detail, parts = task.context, task.detail, task.parts
        taken: set[str] = set()
        chapters = []
        for index, draft in enumerate(parts):
            chapters.append(self._chapter(draft, context, detail, taken))
            if progress:
                progress(index + 1, len(parts), draft.name)
        named = [(draft.name, draft.text) for draft in parts]
        arcs = self._arcs(parts, context, detail, task.arcs)
        facts = plot_facts(arcs)
        preview = legal_preview(self.preview(facts, named, context, detail.preview_words))
        main, side = self.characters(named, context, detail.main, detail.side, detail.person)
        return Annotation(
            chapters=tuple(chapters),
            arcs=arcs,
            preview=preview,
            world_rules=self.world_rules(context, detail.rules),
            writing_style=self.writing_style(context, detail.style),
            archetypes=self.archetypes(named, context, detail.archetypes, detail.archetype),
            main=main,
            side=side,
            prompts=self.prompts(preview, facts, named, context, detail.prompt_words),
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _chapter(self, draft: Draft, context: Context, detail: Detail, taken: set[str]) -> Chapter:
        bound = share(draft.words, detail.chapter_words, detail.chapter, least=2)
        summary = limits.bullets(self.summary(draft.text, context, bound), min(bound.count, 80), NO_SUMMARY)
        texts = fit_scenes(draft.scenes, min(detail.scenes, 12))
        scenes = tuple(self._scene(text, context, detail, taken, frozenset(summary)) for text in texts)
        focuses = limits.focuses(self.focuses(draft.text, context, detail.focuses + 1), detail.focuses + 1)
        return chapter_card(Chapter(draft.name, 0, scenes[0].vector, focuses, summary, scenes, draft.text))

    def _scene(self, text: str, context: Context, detail: Detail, taken: set[str], used: frozenset[str]) -> Scene:
        bound = share(len(text.split()), detail.scene_words, detail.scene)
        scene = scene_card(Scene(
            name=self.heading(text, context, frozenset(taken)),
            word_count=0,
            vector=self.vector(text, context),
            focuses=limits.focuses(self.focuses(text, context, detail.focuses), detail.focuses),
            perspective=self.perspective(text, context),
            summary=limits.bullets(self.summary(text, context, bound, used), bound.count, NO_SUMMARY),
            text=text,
        ))  # fmt: skip
        taken.add(scene.name)
        return scene

    def _arcs(self, parts: Sequence[Draft], context: Context, detail: Detail, count: int) -> tuple[Arc, ...]:
        starts = self.arc_starts([draft.text for draft in parts], context, count)
        taken: set[str] = set()
        result = []
        for start, end in zip(starts, [*starts[1:], len(parts)], strict=True):
            group = parts[start:end]
            heading = self.heading("\n\n".join(draft.text for draft in group), context, frozenset(taken))
            title = limits.one_line(heading, limits.MAX_NAME)
            taken.add(title)
            long = self.long_arc([draft.text for draft in group], context, detail)
            half = Bound(min(detail.medium.count, max(1, len(long) // 2)), detail.medium.words)
            medium = limits.bullets(self.compress(long, context, half), half.count, NO_SUMMARY)
            brief = Bound(min(detail.short.count, max(1, (len(medium) + 1) // 2)), detail.short.words)
            short = limits.bullets(self.compress(medium, context, brief), brief.count, NO_SUMMARY)
            names = tuple(draft.name for draft in group)
            result.append(Arc(title or f"Part {len(result) + 1}", short, medium, long, names))
        return tuple(result)

    def long_arc(self, chapters: Sequence[str], context: Context, detail: Detail) -> tuple[str, ...]:
        """Bullets on a run of chapters, a few from each."""
        each = Bound(detail.long_per_chapter, detail.long.words)
        lines = (line for text in chapters for line in self.summary(text, context, each))
        return limits.bullets(lines, detail.long_bound(len(chapters)).count, NO_SUMMARY)

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


def plot_facts(arcs: Sequence[Arc]) -> list[str]:
    """What the preview and the prompts are told of the plot: the short arcs, or the medium one when it is alone."""
    return list(dict.fromkeys(line for arc in arcs for line in (arc.short if len(arcs) > 1 else arc.medium)))


def _shared(a: Counter, b: Counter) -> float:
    """Cosine of two counters, 0 when either is empty."""
    norm = (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5
    return sum(n * b[key] for key, n in a.items()) / norm if norm else 0.0
