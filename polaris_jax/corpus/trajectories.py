"""Turns one novel into trajectories: plans, renders, checks and tokenises it, once per book."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from polaris_jax import scaffold
from polaris_jax.corpus.options import ResolvedOptions
from polaris_jax.corpus.stage_timer import StageTimer
from polaris_jax.data import Tokenizer, Trajectory, encode_transcript, truncate
from polaris_jax.errors import InputError
from polaris_jax.library import Novel
from polaris_jax.scaffold.drafts import drafts
from polaris_jax.scaffold.field_paths import field_paths
from polaris_jax.trajectory import (
    KINDS,
    ROLES,
    Book,
    check,
    count_words,
    render,
    split_stages,
)

# Limits of the first-chapter grammar (specification 7): one resolution of the arcs, and the next chapter's card.
_ARC_BULLETS = 20
_CARDS = 2
_OTHER = re.compile(r"[\W_]+")
_CHARS_PER_TOKEN = 3  # few vocabularies spell English prose with fewer


class NovelRefused(Exception):
    """A novel that cannot enter the corpus; the message is one sentence for the report."""


@dataclass(frozen=True)
class FinishedTrajectory:
    """One finished trajectory.

    Attributes:
      transcript: its text.
      encoded: its tokens.
      facts: its facts in the manifest and the report: volume, prompt, chapters, truncated, the counts of
        ``annotation_facts`` and ``describe``, and for the first prompt ``plan``, the review of the plan.
    """

    transcript: str
    encoded: Trajectory
    facts: dict


def plan_novel(
    novel: Novel,
    annotator: scaffold.Annotator,
    options: ResolvedOptions,
    count: Callable[[str], int],
    prompt_index: int = 0,
) -> list[Book]:
    """The books of one accepted novel under a profile.

    Args:
      count: transcript → units of ``options.window``; mini volumes are cut to fit.

    Raises:
      NovelRefused: the window is too small for the smallest volume, or the novel has too little prose.
    """
    try:
        if options.profile == "mini":
            profile = scaffold.mini_profile(options.window or None, count, options.chapters, options.chapter_words)
            books = scaffold.build_books(novel, annotator, profile, prompt_index)
            if 0 < options.per_book < len(books):
                books = [books[i] for i in np.linspace(0, len(books) - 1, options.per_book).round().astype(int)]
            return books
        return scaffold.build_books(novel, annotator, scaffold.FULL, prompt_index)
    except InputError as error:
        if error.field not in ("budget", "novel"):
            raise
        where = f"--window={options.window} is too small: " if error.field == "budget" else ""
        raise NovelRefused(f"{where}{error.advice}") from None


def token_counter(tokenizer: Tokenizer) -> Callable[[str], int]:
    """Counts a transcript's tokens, including the BOS of a trajectory."""
    extra = tokenizer.bos_id is not None
    return lambda text: len(tokenizer.encode(text)) + extra


def make_trajectories(
    novel: Novel,
    annotator: scaffold.Annotator,
    options: ResolvedOptions,
    tokenizer: Tokenizer,
    timer: StageTimer,
    judge: scaffold.Entailment | None = None,
) -> list[FinishedTrajectory]:
    """Every trajectory of one accepted novel, each checked against the gates of the corpus (specification 2.8).

    Args:
      judge: a model that judges, besides the comparison of words, whether the prose supports the plans.

    Raises:
      NovelRefused: nothing fits the window, or a gate fails.
    """
    count = token_counter(tokenizer)
    if options.profile == "full" and options.window:
        with timer("tokenize"):
            refuse_hopeless(novel, options, count)
    made = []
    for prompt_index in range(options.prompts):
        with timer("scaffold"):
            books = plan_novel(novel, annotator, options, count, prompt_index)
        with timer("review"):
            if prompt_index == 0:  # other prompts have the same plan
                reviews = review_books(books, novel, options, judge)
        for volume, book in enumerate(books, 1):
            review = reviews[volume - 1] if prompt_index == 0 else {}
            made.append(_make(novel, book, options, tokenizer, timer, volume, prompt_index, review))
    return made


def review_books(
    books: Sequence[Book], novel: Novel, options: ResolvedOptions, judge: scaffold.Entailment | None
) -> list[dict]:
    """The reviews of a novel's plans, as JSON values."""
    prose = _prose(novel, options)
    return [scaffold.review_plan(book, prose, judge).facts() for book in books]


def _make(
    novel: Novel,
    book: Book,
    options: ResolvedOptions,
    tokenizer: Tokenizer,
    timer: StageTimer,
    volume: int,
    prompt: int,
    review: dict,
) -> FinishedTrajectory:
    with timer("render and check"):
        transcript = render(_first_chapter(book) if options.profile == "first_chapter" else book)
        if options.profile == "full" and _letters(c.text for c in book.chapters) != _letters(
            c.text for c in novel.chapters
        ):
            raise NovelRefused("Gate V8: the chapters of the transcript are not the whole text of the novel.")
    with timer("tokenize"):
        whole = encode_transcript(transcript, tokenizer)
        encoded = _fit(whole, options, tokenizer)
        if encoded is not whole:
            transcript = tokenizer.decode(encoded.tokens)
    with timer("render and check"):
        verdict = check(transcript, "corpus")
        if not verdict:
            raise NovelRefused(f"Gate {verdict.violations[0]}")
        facts = (
            {
                "volume": volume,
                "prompt": prompt,
                "chapters": len(book.chapters),
                "truncated": verdict.truncated,
                "plan": review,
            }
            | annotation_facts(book)
            | describe(transcript, encoded)
        )
    return FinishedTrajectory(transcript, encoded, facts)


def describe(transcript: str, encoded: Trajectory) -> dict:
    """Tokens and words of a trajectory, by stage role and by kind."""
    words: Counter[str] = Counter()
    for stage in split_stages(transcript):
        words[stage.role] += count_words(stage.text)
    by_role = {
        role: {"tokens": int((encoded.roles == i).sum()), "words": words[role]}
        for i, role in enumerate(ROLES)
        if words[role]
    }
    by_kind = {kind: int((encoded.kinds == i).sum()) for i, kind in enumerate(KINDS)}
    return {"tokens": len(encoded), "words": sum(words.values()), "by_role": by_role, "by_kind": by_kind}


def annotation_facts(book: Book) -> dict:
    """How the plan was made: fields by kind, those that fell back to the offline annotator, and rewritten ones."""
    source = book.provenance
    prompts = source["fields"] - sum(1 for _ in field_paths(book.chapters, book.arcs, 0))
    paths = field_paths(book.chapters, book.arcs, prompts)
    return {
        "annotator": source["annotator"],
        "fields": dict(Counter(map(field_kind, paths))),
        "fallback": dict(Counter(map(field_kind, source["fallback"]))),
        "failures": dict(Counter(source["failures"].values())),
        "faithfulness": source["faithfulness"],
    }


def field_kind(path: str) -> str:
    """``chapters/3/scenes/1/summary`` → ``chapters/scenes/summary``."""
    return "/".join(part for part in path.split("/") if not part.isdigit())


def refuse_hopeless(novel: Novel, options: ResolvedOptions, count: Callable[[str], int]) -> None:
    """Refuses a novel if too few chapters of its prose alone fit the window, before it is planned."""
    try:
        parts = drafts(novel, scaffold.FULL.max_chapter_words)
    except InputError as error:
        raise NovelRefused(error.advice) from None
    if sum(len(part.text) for part in parts) < _CHARS_PER_TOKEN * options.window:
        return  # it probably fits; if not, it is refused after planning
    least, total = options.least_chapters * len(parts), 0
    for number, part in enumerate(parts, 1):
        total += count(part.text)
        if total > options.window and number <= least:
            raise NovelRefused(_too_long(number - 1, len(parts), options))


def _fit(whole: Trajectory, options: ResolvedOptions, tokenizer: Tokenizer) -> Trajectory:
    """The trajectory, or its longest prefix of whole chapters that fits the window."""
    if not options.window or len(whole) <= options.window:
        return whole
    if options.profile != "full":
        raise NovelRefused(f"It has {len(whole):,} tokens, more than the window of {options.window:,}.")
    encoded = truncate(whole, options.window, tokenizer.eot_id, least=options.least_chapters)
    if encoded is None:
        raise NovelRefused(
            f"It has {len(whole):,} tokens: fewer than {options.least_chapters:.0%} of its chapters fit the "
            f"window of {options.window:,}."
        )
    return encoded


def _too_long(fit: int, chapters: int, options: ResolvedOptions) -> str:
    return (
        f"The prose of at most {fit} of its {chapters} chapters fits the window of {options.window:,} tokens, "
        f"fewer than {options.least_chapters:.0%}."
    )


def _first_chapter(book: Book) -> Book:
    """The book in the 24B protocol: arcs at medium resolution, at most two chapter cards, one text."""
    arcs = tuple(
        replace(arc, short=arc.medium[:_ARC_BULLETS], medium=(), long=(), chapter_names=()) for arc in book.arcs
    )
    first, second = book.chapters[:_CARDS]
    cards = (first, replace(second, scenes=(), text=""))
    return replace(book, arcs=arcs, chapters=cards, main_characters=(), side_characters=())


def _prose(novel: Novel, options: ResolvedOptions) -> str:
    """The novel's prose as the scaffold uses it."""
    cuts = options.profile == "mini"
    return "\n\n".join(draft.text for draft in drafts(novel, None if cuts else scaffold.FULL.max_chapter_words))


def _letters(texts: Iterable[str]) -> str:
    """Letters and digits only, which no layout changes."""
    return "".join(_OTHER.sub("", unicodedata.normalize("NFC", text)) for text in texts)
