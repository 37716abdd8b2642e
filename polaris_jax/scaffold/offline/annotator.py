"""``OfflineAnnotator``: counts and extracts the parts of a plan from the prose, in order, top-down."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.analysis.lexicons import word_set
from polaris_jax.scaffold.analysis.novel_stats import analyse, noun_phrases
from polaris_jax.scaffold.analysis.sentences import dialogue_share, sentences, words
from polaris_jax.scaffold.annotator import Annotation, AnnotationTask, Context, Progress
from polaris_jax.scaffold.assemble import NO_SUMMARY, chapter_card, legal_preview, plot_facts, scene_card
from polaris_jax.scaffold.drafts import Draft, fit_scenes
from polaris_jax.scaffold.offline import cast, pitch, vectors, world
from polaris_jax.scaffold.offline.notes import content, is_counted, shorter
from polaris_jax.scaffold.offline.ranking import conversation, notes_from, rarely_alike
from polaris_jax.scaffold.profile import Bound, Detail, share
from polaris_jax.trajectory import Arc, Chapter, Described, Preview, Scene, Vector

_COUNTED = 0.035  # share of bullets that may be counts, phrased by the annotator; one in twenty is too many
_SMALL = word_set("a an the of in on at to and for")


@dataclass(frozen=True)
class _Counts:
    """Most lines of counts per part of a plan; a short book has as many people to count as a long one."""

    style: int
    rules: int
    archetypes: int
    cast: int

    @classmethod
    def of(cls, bullets: Collection[str]) -> "_Counts":
        """The limits for a plan with these bullets in its cards and arcs, some of which may be counts already."""
        most = _COUNTED * len(bullets) - sum(map(is_counted, bullets))
        shares = (max(least, round(part * most)) for part, least in ((0.35, 3), (0.2, 1), (0.15, 2), (0.3, 1)))
        return cls(*shares)


def _title_case(phrase: str) -> str:
    parts = phrase.split()
    return " ".join(w if i and w.lower() in _SMALL else w[:1].upper() + w[1:] for i, w in enumerate(parts))


class OfflineAnnotator:
    """Implements ``Annotator`` by counting and rewriting only. Every field also has its own method.

    Cards are written top-down: the chapter first, then its scenes, whose notes avoid repeating it.
    """

    name = "deterministic"  # manifests record it, so it stays: equal books keep equal bytes
    version = "5"

    def annotate(self, task: AnnotationTask, progress: Progress | None = None) -> Annotation:
        context, detail, parts = task.context, task.detail, task.parts
        taken: set[str] = set()
        used: set[str] = set()  # bullets so far; no plan has a bullet twice
        chapters = []
        for index, draft in enumerate(parts):
            chapters.append(self._chapter(draft, context, detail, taken, used))
            if progress:
                progress(index + 1, len(parts), draft.name)
        named = [(draft.name, draft.text) for draft in parts]
        arcs = self._arcs(parts, context, detail, task.arcs, used)
        facts = plot_facts(arcs)
        preview = legal_preview(self.preview(facts, named, context, detail.preview_words))
        counted = _Counts.of(used)
        main, side = self.characters(named, context, detail.main, detail.side, detail.person, used, counted.cast)
        return Annotation(
            chapters=tuple(chapters),
            arcs=arcs,
            preview=preview,
            world_rules=self.world_rules(context, detail.rules, used, counted.rules),
            writing_style=self.writing_style(
                context, Bound(min(detail.style.count, counted.style), detail.style.words)
            ),
            archetypes=self.archetypes(named, context, min(detail.archetypes, counted.archetypes), detail.archetype),
            main=main,
            side=side,
            prompts=self.prompts(preview, facts, named, context, detail.prompt_words),
        )

    def close(self) -> None:
        """Does nothing: nothing is open."""

    def _chapter(self, draft: Draft, context: Context, detail: Detail, taken: set[str], used: set[str]) -> Chapter:
        bound = share(draft.words, detail.chapter_words, detail.chapter, least=2)
        summary = limits.bullets(self.summary(draft.text, context, bound, used), min(bound.count, 80), NO_SUMMARY)
        texts = fit_scenes(draft.scenes, min(detail.scenes, 12))
        used.update(summary)
        scenes = tuple(self.scene(text, context, detail, taken, used) for text in texts)
        focuses = limits.focuses(self.focuses(draft.text, context, detail.focuses + 1), detail.focuses + 1)
        return chapter_card(Chapter(draft.name, 0, scenes[0].vector, focuses, summary, scenes, draft.text))

    def scene(self, text: str, context: Context, detail: Detail, taken: set[str], used: set[str]) -> Scene:
        """A scene's card. It repeats nothing of ``taken`` (names) and ``used`` (bullets); its own are added to them."""
        bound = share(len(text.split()), detail.scene_words, detail.scene)
        scene = scene_card(
            Scene(
                name=self.heading(text, context, frozenset(taken)),
                word_count=0,
                vector=self.vector(text, context),
                focuses=limits.focuses(self.focuses(text, context, detail.focuses), detail.focuses),
                perspective=self.perspective(text, context),
                summary=limits.bullets(self.summary(text, context, bound, used), bound.count, NO_SUMMARY),
                text=text,
            )
        )
        taken.add(scene.name)
        used.update(scene.summary)
        return scene

    def _arcs(
        self, parts: Sequence[Draft], context: Context, detail: Detail, count: int, used: set[str]
    ) -> tuple[Arc, ...]:
        starts = self.arc_starts([draft.text for draft in parts], context, count)
        taken: set[str] = set()
        result: list[Arc] = []
        for start, end in zip(starts, [*starts[1:], len(parts)], strict=True):
            group = parts[start:end]
            heading = self.heading("\n\n".join(draft.text for draft in group), context, frozenset(taken))
            title = limits.one_line(heading, limits.MAX_NAME)
            taken.add(title)
            long = self.long_arc([draft.text for draft in group], context, detail, used)
            half = Bound(min(detail.medium.count, max(1, len(long) // 2)), detail.medium.words)
            where = f"{start + 1} to {end}" if end > start + 1 else f"{end}"
            span = f"Chapter{'s' * (end > start + 1)} {where} of {len(parts)}"
            size = sum(draft.words for draft in group)
            medium = limits.bullets(self.compress(long, context, half, used), half.count, f"{span}, {size:,} words.")
            used.update(medium)
            brief = Bound(min(detail.short.count, max(1, (len(medium) + 1) // 2)), detail.short.words)
            short = limits.bullets(self.compress(medium, context, brief, used), brief.count, f"{span}.")
            used.update(short)
            names = tuple(draft.name for draft in group)
            result.append(Arc(title or f"Part {len(result) + 1}", short, medium, long, names))
        return tuple(result)

    def long_arc(
        self, chapters: Sequence[str], context: Context, detail: Detail, used: set[str] | None = None
    ) -> tuple[str, ...]:
        """Bullets on a run of chapters, a few from each and none in ``used``, to which they are added."""
        each = Bound(detail.long_per_chapter, detail.long.words)
        taken = set[str]() if used is None else used
        lines: list[str] = []
        for text in chapters:
            lines += self.summary(text, context, each, taken)
            taken.update(lines)
        return limits.bullets(lines, detail.long_bound(len(chapters)).count, NO_SUMMARY)

    def vector(self, text: str, context: Context) -> Vector:
        return vectors.score(text, analyse(context.novel).quotes)

    def _people(self, text: str, context: Context) -> list[str]:
        counts = analyse(context.novel).mentioned(text)
        people = sorted((e for e in counts if e.person), key=lambda e: (-counts[e], e.aliases))
        return [form for entity in people if (form := entity.form_in(text, full=False))]

    def _things(self, text: str, context: Context) -> list[str]:
        scores = noun_phrases(text, analyse(context.novel))
        ranked = sorted(scores, key=lambda phrase: (-scores[phrase], phrase))
        picked: list[str] = []
        for phrase in ranked[:40]:
            if not any(set(phrase.split()) & set(other.split()) for other in picked):
                picked.append(phrase)
        return picked

    def _labels(self, text: str, context: Context) -> list[str]:
        """Possible names of a passage, most distinctive first."""
        people, things = self._people(text, context), self._things(text, context)
        places = [
            f for e in analyse(context.novel).mentioned(text) if not e.person and (f := e.form_in(text, full=False))
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
        number = 1 + sum(name.startswith("A Passage Without Names") for name in taken)
        return "A Passage Without Names" if number == 1 else f"A Passage Without Names ({number})"

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
        stats = analyse(context.novel)
        tense = "past" if stats.past else "present"
        if stats.first_person:
            return f"First person {tense} tense, the narrator"
        people = self._people(text, context)
        return f"Third person {tense} tense, {people[0] if people else 'nobody named'}"

    def summary(self, text: str, context: Context, bound: Bound, skip: Collection[str] = ()) -> tuple[str, ...]:
        """Bullets on a passage, none in ``skip``."""
        lines = notes_from(text, context.novel, bound.count, bound.words, skip)
        stats = analyse(context.novel)
        if len(lines) < bound.count:
            spoken = conversation(text, context.novel, {*skip, *lines})
            if spoken and rarely_alike(spoken, lines):
                lines.append(spoken)
        lines = [line for line in lines if stats.copies(line) is None]
        if not lines and stats.past:  # an essay inside the novel: no sentence narrates an action
            lines = notes_from(text, context.novel, bound.count, bound.words, skip, essay=True)
            lines = [line for line in lines if stats.copies(line) is None]
        return tuple(lines) or (self._counted(text, context, skip),)

    def _counted(self, text: str, context: Context, skip: Collection[str]) -> str:
        """A line of counts, for a passage without a sentence that makes a note."""
        stats, things = analyse(context.novel), self._things(text, context)
        options = [f"The passage mentions the {a} and the {b}." for a, b in pairwise(things)]
        spoken = round(100 * dialogue_share(text, stats.quotes))
        size = f"Has {len(words(text)):,} words in {len(sentences(text, stats.quotes)):,} sentences"
        options += [f"{size}, {spoken} percent of them spoken.", f"{size} and {len(text):,} characters."]
        fit = [line for line in options if stats.copies(line) is None]
        return next((line for line in fit if line not in skip), fit[0] if fit else NO_SUMMARY)

    def compress(
        self, bullets: Sequence[str], context: Context, bound: Bound, used: Collection[str] = ()
    ) -> tuple[str, ...]:
        """At most ``bound.count`` of the bullets: the one with the highest weight from each of equal stretches.

        Each is shortened to ``bound.words`` words, to a line that is not in ``used``.
        """
        stats = analyse(context.novel)
        step = max(1.0, len(bullets) / bound.count)
        weights = [
            sum(stats.weight(word) for word in content(line)) / (4 + len(line.split()))
            + 0.8 * (not stats.name_parts.isdisjoint(line.split()))
            for line in bullets
        ]
        lines: list[str] = []
        for stretch in range(min(bound.count, len(bullets))):
            start = int(stretch * step)
            window = range(start, max(start + 1, min(len(bullets), int((stretch + 1) * step))))
            for index in sorted(window, key=lambda i: (-weights[i], i)):
                if line := shorter(bullets[index], stats, bound.words, {*used, *lines}):
                    lines.append(line)
                    break
        return tuple(lines) or tuple(line for line in bullets if line not in used)[:1]

    def arc_starts(self, chapters: Sequence[str], context: Context, arcs: int) -> tuple[int, ...]:
        """Starts of arcs with nearly equal word counts, moved by at most one chapter to where the cast changes most."""
        stats = analyse(context.novel)
        sizes = [len(text.split()) for text in chapters]
        casts = [stats.mentioned(text) for text in chapters]
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

    def world_rules(
        self, context: Context, bound: Bound, used: Collection[str] = (), counted: int = 99
    ) -> tuple[str, ...]:
        return world.rules(context, bound, used, counted)

    def writing_style(self, context: Context, bound: Bound) -> tuple[str, ...]:
        return world.style(context, bound)

    def characters(
        self,
        chapters: Sequence[tuple[str, str]],
        context: Context,
        main: int,
        side: int,
        bound: Bound,
        used: set[str] | None = None,
        counted: int = 99,
    ) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
        return cast.characters(chapters, context, main, side, bound, set() if used is None else used, counted)

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
    """Cosine similarity of two counters, 0 if either is empty."""
    norm = (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5
    return sum(n * b[key] for key, n in a.items()) / norm if norm else 0.0
