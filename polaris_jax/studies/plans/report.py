"""The tables of the study: losses and gains in nats per word, and what passages repeat of their plans."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polaris_jax.evals.documents import Document, DocumentSection, Table
from polaris_jax.evals.intervals import Interval, bootstrap
from polaris_jax.scaffold.analysis.lexicons import stem
from polaris_jax.scaffold.analysis.sentences import words
from polaris_jax.studies.plans.cards import OpeningPlan
from polaris_jax.studies.plans.openings import OTHER_BOOK, OTHER_CHAPTER, ChapterOpening
from polaris_jax.studies.plans.study import BASE, NO_PLAN, NONE, RIGHT, Plans
from polaris_jax.studies.style.plan_use import artefact_index, names_kept
from polaris_jax.studies.style.repetition import repeated_share
from polaris_jax.studies.style.stories import Story, plain
from polaris_jax.trajectory import Book, Chapter

_CANNOT = (
    "What a run of this size cannot answer: whether a strong model's plans help, whether plans help at the length of a "
    "book, and whether prose written from them is better. Passages are short and open a chapter, so that nothing has "
    "to be remembered; an offline plan is cut from the passage itself, so that part of what it saves is copying; the "
    "intervals are over chapters of few books, with one seed, and say nothing about other authors."
)


def loss_per_word(losses: Mapping[str, Sequence[float]], seed: int = 0) -> Interval:
    """Mean nats per word over all words, with its interval over passages."""
    rows = np.array([(sum(nats), len(nats)) for nats in losses.values()], float)
    return _per_word(rows, seed)


def gain_per_word(
    without: Mapping[str, Sequence[float]],
    given: Mapping[str, Sequence[float]],
    chosen: Mapping[str, Sequence[bool]] | None = None,
    seed: int = 0,
) -> Interval | None:
    """Nats per word that a condition saves, paired by passage; positive if ``given`` makes passages more probable.

    Args:
      without, given: id -> nats per word of the same passages.
      chosen: id -> which words count; default all. The result is None if no word counts.
    """
    rows = []
    for name, before in without.items():
        keep = np.ones(len(before), bool) if chosen is None else np.asarray(chosen[name], bool)
        saved = np.asarray(before, float) - np.asarray(given[name], float)
        if keep.any():
            rows.append((saved[keep].sum(), keep.sum()))
    return _per_word(np.array(rows, float), seed) if rows else None


def words_outside(opening: ChapterOpening, plan: OpeningPlan) -> list[bool]:
    """For every word of a passage, whether its plan lacks the word, by stem."""
    said = {stem(word) for word in words(plain(plan.lines))}
    return [not any(stem(part) in said for part in words(plain(word))) for word in opening.words]


def plan_study_document(
    results: Sequence[Mapping], held_out: Sequence[ChapterOpening], plans: Mapping[str, Plans], facts: Mapping[str, Any]
) -> Document:
    """Tables of ``run_plan_study``'s results."""
    arms = {one["arm"]: one for one in results}
    sections = [
        DocumentSection("Likelihood", _CANNOT, [_gains(arms, held_out, plans)]),
        DocumentSection("The plans", "", [_plan_table(held_out, plans)]),
    ]
    if any(one["texts"] for one in results):
        sections.insert(1, DocumentSection("Generated passages", "", [_artefacts(arms, held_out, plans)]))
    lead = f"{len(held_out)} openings of chapters of {len({one.book for one in held_out})} held-out books."
    return Document("Do plans help?", lead, sections, facts)


def _gains(arms: Mapping[str, Mapping], held_out: Sequence[ChapterOpening], plans: Mapping[str, Plans]) -> Table:
    prose = arms[NO_PLAN]["losses"][""][NONE] if NO_PLAN in arms else None
    rows: list[tuple] = []
    for name, arm in arms.items():
        none = arm["losses"][""][NONE]
        against = None if prose is None or name == NO_PLAN else gain_per_word(prose, none)
        rows.append((name, "none", loss_per_word(none), against, None, None, None, None))
        for kind, by in arm["losses"].items():
            if not kind:
                continue
            outside = {one.id: words_outside(one, plans[kind][one.id]) for one in held_out}
            rows.append(
                (
                    name,
                    kind,
                    loss_per_word(by[RIGHT]),
                    None if prose is None else gain_per_word(prose, by[RIGHT]),
                    gain_per_word(none, by[RIGHT]),
                    gain_per_word(by[OTHER_CHAPTER], by[RIGHT]),
                    gain_per_word(by[OTHER_BOOK], by[RIGHT]),
                    gain_per_word(none, by[RIGHT], outside),
                )
            )
    return Table(
        "Held-out prose under a plan (nats per word)",
        (
            "model",
            "plan shown",
            "loss",
            "less than prose-trained model without plan by",
            "right plan: gain over none",
            "over other chapter's",
            "over other book's",
            "over none, words not in the plan",
        ),
        rows,
        f"Model: {BASE}, or trained on passages behind plans of that kind ({NO_PLAN}: on the passages alone). Gains "
        "are paired by passage; 95 % bootstrap intervals over passages.",
    )


def _artefacts(arms: Mapping[str, Mapping], held_out: Sequence[ChapterOpening], plans: Mapping[str, Plans]) -> Table:
    human = {one.id: one.text for one in held_out}
    rows: list[tuple] = []
    for kind, cards in plans.items():
        rows.append(_artefact_row("the author", kind, human, held_out, cards))
        for name, arm in arms.items():
            if kind in arm["texts"]:
                rows.append(_artefact_row(name, kind, arm["texts"][kind], held_out, cards))
            elif "" in arm["texts"]:
                rows.append(_artefact_row(f"{name} (never saw it)", kind, arm["texts"][""], held_out, cards))
    return Table(
        "What passages take over from the plan",
        ("written by", "plan", "artefact index", "names of the plan kept", "repeated 8-grams", "words"),
        rows,
        "Artefact index: share of the plan's pairs of neighbouring content words that the passage repeats, less the "
        "share that the author's other openings repeat by chance; the author's own text is what plans were made from. "
        "95 % bootstrap intervals over passages.",
    )


def _artefact_row(
    writer: str, kind: str, texts: Mapping[str, str], held_out: Sequence[ChapterOpening], cards: Plans
) -> tuple:
    stories = [_story(one, texts[one.id], held_out, cards) for one in held_out]
    loops = [repeated_share(story.words, 8) for story in stories]
    sizes = [float(len(story.words)) for story in stories]
    return (
        writer,
        kind,
        _mean([artefact_index(story) for story in stories]),
        _mean([names_kept(story) for story in stories]),
        _mean(loops),
        _mean(sizes),
    )


def _story(opening: ChapterOpening, text: str, held_out: Sequence[ChapterOpening], cards: Plans) -> Story:
    """A passage with the plan it was written from, in a book of its author's openings."""
    beside = [one for one in held_out if one.book == opening.book]
    # The passage was written from a plan without the bullets that were filled in.
    said = {one.id: () if "summary" in cards[one.id].fallback else cards[one.id].scene.summary for one in beside}
    chapters = tuple(Chapter(one.name, 0, cards[one.id].scene.vector, (), said[one.id], (), one.text) for one in beside)
    book = Book("", "", opening.book, (), "", (), (), (), (), chapters, (), ())
    return Story(text, opening.author, opening.book, opening.name, False, book, beside.index(opening))


def _plan_table(held_out: Sequence[ChapterOpening], plans: Mapping[str, Plans]) -> Table:
    rows: list[tuple] = []
    for kind, cards in plans.items():
        chosen = [(one, cards[one.id]) for one in held_out]
        failed = sum(len(card.fallback) for _, card in chosen)
        silent = sum("summary" in card.fallback for _, card in chosen)
        rows.append(
            (
                kind,
                _mean([float(len(card.lines.split())) for _, card in chosen]),
                _mean([float(len(one.words)) for one, _ in chosen]),
                _mean([1 - float(np.mean(words_outside(one, card))) for one, card in chosen]),
                f"{failed} of {4 * len(chosen)}",
                f"{silent} of {len(chosen)}",
            )
        )
    return Table(
        "The plans of the held-out openings",
        (
            "plan",
            "words of the plan",
            "words of the passage",
            "passage's words in the plan",
            "fields unanswered",
            "without bullets",
        ),
        rows,
        "A field that a model fails to answer is left out here; a library build takes the offline annotator's.",
    )


def _per_word(rows: np.ndarray, seed: int) -> Interval:
    """``rows [n, 2]``: nats and words of every passage."""
    return bootstrap(rows, lambda some: some[:, 0].sum() / some[:, 1].sum(), seed=seed)


def _mean(values: Sequence[float]) -> Interval | None:
    known = [value for value in values if np.isfinite(value)]
    return bootstrap(known) if known else None
