"""Makes a ``Book`` of an annotation; every field is cut or filled to the grammar's limits."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.annotator import Annotation, AnnotationTask
from polaris_jax.scaffold.field_paths import field_paths
from polaris_jax.trajectory import DIMENSIONS, Arc, Book, Chapter, Preview, Scene, Vector, bin_word_count, count_words

NO_SUMMARY = "A short passage carries the story onward."
_LARGEST = 99  # largest value of a vector's dimension


def scene_card(scene: Scene) -> Scene:
    """The scene with legal lines and the word count of its text."""
    return replace(
        scene,
        name=limits.one_line(scene.name, limits.MAX_NAME) or "A Scene",
        word_count=bin_word_count(count_words(scene.text)),
        focuses=limits.focuses(scene.focuses, 7),
        perspective=limits.one_line(scene.perspective, limits.MAX_PERSPECTIVE) or "Third person",
        summary=limits.bullets(scene.summary, 20, NO_SUMMARY),
    )


def weighted_mean(vectors: Sequence[Vector], weights: Sequence[int]) -> Vector:
    """The chapter's vector: scene vectors weighted by their word counts, rounded and clipped."""
    total = max(1, sum(weights))
    means = {
        name: sum(getattr(vector, name) * weight for vector, weight in zip(vectors, weights, strict=True)) / total
        for name in DIMENSIONS
    }
    return Vector(**{name: min(_LARGEST, round(mean)) for name, mean in means.items()})


def chapter_card(chapter: Chapter) -> Chapter:
    """The chapter with legal lines, the word count of its text and the weighted mean of its scenes' vectors."""
    scenes = tuple(map(scene_card, chapter.scenes))
    return replace(
        chapter,
        word_count=bin_word_count(count_words(chapter.text)),
        vector=weighted_mean([scene.vector for scene in scenes], [count_words(scene.text) for scene in scenes]),
        focuses=limits.focuses(chapter.focuses, 7),
        summary=limits.bullets(chapter.summary, 80, NO_SUMMARY),
        scenes=scenes,
    )


def _arc(arc: Arc, number: int) -> Arc:
    return replace(
        arc,
        title=limits.one_line(arc.title, limits.MAX_NAME) or f"Part {number}",
        short=limits.bullets(arc.short, 20, NO_SUMMARY),
        medium=limits.bullets(arc.medium, 40, NO_SUMMARY),
        long=limits.bullets(arc.long, 80, NO_SUMMARY),
    )


def legal_preview(seen: Preview) -> Preview:
    """The preview in its alphabet, with legal lengths of highlight, title, tags and archetype."""
    return Preview(
        limits.passage(seen.highlight, 55, 140),
        limits.title(seen.title),
        limits.tags(seen.tags),
        limits.passage(seen.archetype, 45, 190),
    )


def plot_facts(arcs: Sequence[Arc]) -> list[str]:
    """The plot for the preview and the prompts: the short notes of all arcs, or the medium ones of a single arc."""
    return list(dict.fromkeys(line for arc in arcs for line in (arc.short if len(arcs) > 1 else arc.medium)))


def assemble(said: Annotation, task: AnnotationTask, prompt_index: int = 0, provenance: dict | None = None) -> Book:
    """The book that an annotation describes; it always satisfies the strict grammar.

    Args:
      prompt_index: which of the annotation's prompts to use, modulo their number (one per epoch).
      provenance: what is known of the source; the annotation's fields, fallbacks and faithfulness are added.
    """
    preview = legal_preview(said.preview)
    prompt = said.prompts[prompt_index % len(said.prompts)] if said.prompts else f"Write the novel {preview.title}."
    detail = task.detail
    return Book(
        prompt="\n".join(limits.one_line(line, 4_000) for line in prompt.splitlines()).strip() or "Write a novel.",
        highlight=preview.highlight,
        title=preview.title,
        tags=preview.tags,
        archetype=preview.archetype,
        world_rules=limits.bullets(said.world_rules, min(detail.rules.count, 90), NO_SUMMARY),
        arcs=tuple(_arc(arc, number) for number, arc in enumerate(said.arcs, 1)),
        character_archetypes=limits.described(said.archetypes, detail.archetypes, min(detail.archetype.count, 10)),
        writing_style=limits.bullets(said.writing_style, min(detail.style.count, 40), "Plain prose."),
        chapters=tuple(map(chapter_card, said.chapters)),
        main_characters=limits.described(said.main, min(detail.main, 20), min(detail.person.count, 20)),
        side_characters=limits.described(said.side, min(detail.side, 20), min(detail.person.count, 20)),
        provenance=(provenance or {})
        | {
            "fields": sum(1 for _ in field_paths(said.chapters, said.arcs, len(said.prompts))),
            "fallback": tuple(said.fallback),
            "failures": dict(said.fallback),
            "faithfulness": asdict(said.faithfulness),
        },
    )
