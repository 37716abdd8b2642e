"""One ``Book`` from drafts, bottom-up: scenes, chapters, arcs, the world, the preview, the prompt."""

from collections.abc import Callable, Sequence

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.annotator import Annotator, Bound, Context, Preview
from polaris_jax.scaffold.drafts import Draft, fit_scenes
from polaris_jax.scaffold.profile import Detail
from polaris_jax.scaffold.vectors import weighted_mean
from polaris_jax.trajectory import Arc, Book, Chapter, Scene, bin_word_count, count_words

_NO_SUMMARY = "A short passage carries the story onward."


def _count(words: int, per_bullet: int, bound: Bound, least: int = 1) -> Bound:
    return Bound(max(min(least, bound.count), min(bound.count, round(words / per_bullet))), bound.words)


def _scene(
    text: str, annotator: Annotator, context: Context, detail: Detail, taken: set[str], used: frozenset[str]
) -> Scene:
    name = limits.one_line(annotator.heading(text, context, frozenset(taken)), limits.MAX_NAME) or "A Scene"
    taken.add(name)
    words = count_words(text)
    bound = _count(words, detail.scene_words, detail.scene)
    return Scene(
        name=name,
        word_count=bin_word_count(words),
        vector=annotator.vector(text, context),
        focuses=limits.focuses(annotator.focuses(text, context, detail.focuses), detail.focuses),
        perspective=limits.one_line(annotator.perspective(text, context), limits.MAX_PERSPECTIVE) or "Third person",
        summary=limits.bullets(annotator.summary(text, context, bound, used), bound.count, _NO_SUMMARY),
        text=text,
    )


def chapter(draft: Draft, annotator: Annotator, context: Context, detail: Detail, taken: set[str]) -> Chapter:
    """The chapter card first, then its scenes, whose notes avoid repeating it; ``taken`` collects scene names."""
    parts = fit_scenes(draft.scenes, min(detail.scenes, 12))
    bound = _count(draft.words, detail.chapter_words, detail.chapter, least=2)
    summary = limits.bullets(annotator.summary(draft.text, context, bound), min(bound.count, 80), _NO_SUMMARY)
    scenes = tuple(_scene(text, annotator, context, detail, taken, frozenset(summary)) for text in parts)
    return Chapter(
        name=draft.name,
        word_count=bin_word_count(draft.words),
        vector=weighted_mean([scene.vector for scene in scenes], [count_words(scene.text) for scene in scenes]),
        focuses=limits.focuses(annotator.focuses(draft.text, context, detail.focuses + 1), detail.focuses + 1),
        summary=summary,
        scenes=scenes,
        text=draft.text,
    )


def _arcs(
    parts: Sequence[Draft], annotator: Annotator, context: Context, detail: Detail, count: int
) -> tuple[Arc, ...]:
    starts = annotator.arc_starts([draft.text for draft in parts], context, count)
    taken: set[str] = set()
    result = []
    for start, end in zip(starts, [*starts[1:], len(parts)], strict=True):
        group = parts[start:end]
        title = limits.one_line(
            annotator.heading("\n\n".join(d.text for d in group), context, frozenset(taken)), limits.MAX_NAME
        )
        taken.add(title)
        most = min(80, detail.long.count * (1 if detail.long.count >= 12 else len(group)))
        each = Bound(detail.long_per_chapter, detail.long.words)
        long = limits.bullets((b for d in group for b in annotator.summary(d.text, context, each)), most, _NO_SUMMARY)
        half = Bound(min(detail.medium.count, max(1, len(long) // 2)), detail.medium.words)
        medium = limits.bullets(annotator.compress(long, context, half), half.count, _NO_SUMMARY)
        brief = Bound(min(detail.short.count, max(1, (len(medium) + 1) // 2)), detail.short.words)
        short = limits.bullets(annotator.compress(medium, context, brief), brief.count, _NO_SUMMARY)
        result.append(Arc(title or f"Part {len(result) + 1}", short, medium, long, tuple(d.name for d in group)))
    return tuple(result)


def assemble(
    parts: Sequence[Draft],
    annotator: Annotator,
    context: Context,
    detail: Detail,
    arcs: int,
    prompt_index: int = 0,
    provenance: dict | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Book:
    """Annotate drafts into a book that satisfies the strict grammar whatever the annotator answers.

    Args:
      prompt_index: which of the annotator's prompts to use, modulo their number (one per epoch).
      progress: called with (chapters done, chapters, name).
    """
    taken: set[str] = set()
    chapters = []
    for index, draft in enumerate(parts):
        chapters.append(chapter(draft, annotator, context, detail, taken))
        if progress:
            progress(index + 1, len(parts), draft.name)
    named = [(draft.name, draft.text) for draft in parts]
    arc_list = _arcs(parts, annotator, context, detail, arcs)
    facts = list(
        dict.fromkeys(bullet for arc in arc_list for bullet in (arc.short if len(arc_list) > 1 else arc.medium))
    )
    seen = annotator.preview(facts, named, context, detail.preview_words)
    preview = Preview(
        limits.passage(seen.highlight, 55, 140),
        limits.title(seen.title),
        limits.tags(seen.tags),
        limits.passage(seen.archetype, 45, 190),
    )
    main, side = annotator.characters(named, context, detail.main, detail.side, detail.person)
    prompts = annotator.prompts(preview, facts, named, context, detail.prompt_words)
    prompt = prompts[prompt_index % len(prompts)] if prompts else f"Write the novel {preview.title}."
    return Book(
        prompt="\n".join(limits.one_line(line, 4_000) for line in prompt.splitlines()).strip() or "Write a novel.",
        highlight=preview.highlight,
        title=preview.title,
        tags=preview.tags,
        archetype=preview.archetype,
        world_rules=limits.bullets(
            annotator.world_rules(context, detail.rules), min(detail.rules.count, 90), _NO_SUMMARY
        ),
        arcs=arc_list,
        character_archetypes=limits.described(
            annotator.archetypes(named, context, detail.archetypes, detail.archetype),
            detail.archetypes,
            min(detail.archetype.count, 10),
        ),
        writing_style=limits.bullets(
            annotator.writing_style(context, detail.style), min(detail.style.count, 40), "Plain prose."
        ),
        chapters=tuple(chapters),
        main_characters=limits.described(main, min(detail.main, 20), min(detail.person.count, 20)),
        side_characters=limits.described(side, min(detail.side, 20), min(detail.person.count, 20)),
        provenance=provenance or {},
    )
