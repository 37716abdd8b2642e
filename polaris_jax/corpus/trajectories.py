"""One novel, planned, rendered, checked and tokenised: the work that a library build does once per book."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from polaris_jax import scaffold
from polaris_jax.corpus.clock import Clock
from polaris_jax.corpus.options import BuildOptions
from polaris_jax.data import Tokenizer, Trajectory, encode_transcript, truncate
from polaris_jax.errors import InputError
from polaris_jax.library import Novel
from polaris_jax.scaffold.drafts import drafts
from polaris_jax.scaffold.fields import field_paths
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


class Refused(Exception):
    """A novel that cannot enter the corpus; the message is one sentence for the report."""


@dataclass(frozen=True)
class Made:
    """One finished trajectory.

    Attributes:
      transcript: its text.
      encoded: its tokens.
      facts: what the manifest and the report say about it: volume, prompt, chapters, truncated, and what
        ``annotation_facts`` and ``describe`` count.
    """

    transcript: str
    encoded: Trajectory
    facts: dict


def plan_novel(
    novel: Novel, annotator: scaffold.Annotator, options: BuildOptions, count: Callable[[str], int],
    prompt_index: int = 0,
) -> list[Book]:
    """The books of one accepted novel under a profile.

    Args:
      options: resolved.
      count: transcript → units of ``options.window``; mini volumes are cut to fit.

    Raises:
      Refused: the window is too small for the smallest volume, or the novel has too little prose.
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
        raise Refused(f"{where}{error.advice}") from None


def make_trajectories(
    novel: Novel, annotator: scaffold.Annotator, options: BuildOptions, tokenizer: Tokenizer, clock: Clock
) -> list[Made]:
    """Every trajectory of one accepted novel, each checked against the gates of the corpus (specification 2.8).

    Raises:
      Refused: nothing fits the window, or a gate does not open.
    """
    extra = tokenizer.bos_id is not None

    def count(text: str) -> int:
        return len(tokenizer.encode(text)) + extra

    if options.profile == "full" and options.window:
        with clock("tokenize"):
            _refuse_hopeless(novel, options, count)
    made = []
    for prompt_index in range(options.prompts):
        with clock("scaffold"):
            books = plan_novel(novel, annotator, options, count, prompt_index)
        for volume, book in enumerate(books, 1):
            made.append(_make(novel, book, options, tokenizer, clock, volume, prompt_index))
    return made


def _make(
    novel: Novel, book: Book, options: BuildOptions, tokenizer: Tokenizer, clock: Clock, volume: int, prompt: int
) -> Made:
    with clock("render and check"):
        transcript = render(_first_chapter(book) if options.profile == "first_chapter" else book)
        if options.profile == "full" and _letters(c.text for c in book.chapters) != _letters(
            c.text for c in novel.chapters
        ):
            raise Refused("Gate V8: the chapters of the transcript are not the whole text of the novel.")
    with clock("tokenize"):
        whole = encode_transcript(transcript, tokenizer)
        encoded = _fit(whole, options, tokenizer)
        if encoded is not whole:
            transcript = tokenizer.decode(encoded.tokens)
    with clock("render and check"):
        verdict = check(transcript, "corpus")
        if not verdict:
            raise Refused(f"Gate {verdict.violations[0]}")
        facts = {
            "volume": volume, "prompt": prompt, "chapters": len(book.chapters), "truncated": verdict.truncated,
        } | annotation_facts(book) | describe(transcript, encoded)  # fmt: skip
    return Made(transcript, encoded, facts)


def describe(transcript: str, encoded: Trajectory) -> dict:
    """Tokens and words of a trajectory, by stage role and by kind."""
    words = Counter()
    for stage in split_stages(transcript):
        words[stage.role] += count_words(stage.text)
    by_role = {
        role: {"tokens": int((encoded.roles == i).sum()), "words": words[role]}
        for i, role in enumerate(ROLES) if words[role]
    }  # fmt: skip
    by_kind = {kind: int((encoded.kinds == i).sum()) for i, kind in enumerate(KINDS)}
    return {"tokens": len(encoded), "words": sum(words.values()), "by_role": by_role, "by_kind": by_kind}


def annotation_facts(book: Book) -> dict:
    """How the plan came about: fields by kind, those that fell back to the offline annotator, what was rewritten."""
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


def _refuse_hopeless(novel: Novel, options: BuildOptions, count: Callable[[str], int]) -> None:
    """Refuses a novel whose prose alone leaves too few chapters in the window, before anybody plans it."""
    try:
        parts = drafts(novel, scaffold.FULL.max_chapter_words)
    except InputError as error:
        raise Refused(error.advice) from None
    if sum(len(part.text) for part in parts) < _CHARS_PER_TOKEN * options.window:
        return  # most likely it fits; if not, it is refused once it is planned
    least, total = options.least_chapters * len(parts), 0
    for number, part in enumerate(parts, 1):
        total += count(part.text)
        if total > options.window and number <= least:
            raise Refused(_too_long(number - 1, len(parts), options))


def _fit(whole: Trajectory, options: BuildOptions, tokenizer: Tokenizer) -> Trajectory:
    """The trajectory, or its longest prefix of whole chapters that fits the window."""
    if not options.window or len(whole) <= options.window:
        return whole
    if options.profile != "full":
        raise Refused(f"It has {len(whole):,} tokens, more than the window of {options.window:,}.")
    encoded = truncate(whole, options.window, tokenizer.eot_id, least=options.least_chapters)
    if encoded is None:
        raise Refused(f"It has {len(whole):,} tokens: fewer than {options.least_chapters:.0%} of its chapters fit the "
                      f"window of {options.window:,}.")  # fmt: skip
    return encoded


def _too_long(fit: int, chapters: int, options: BuildOptions) -> str:
    return (f"The prose of at most {fit} of its {chapters} chapters fits the window of {options.window:,} tokens, "
            f"fewer than {options.least_chapters:.0%}.")  # fmt: skip


def _first_chapter(book: Book) -> Book:
    """The book in the 24B protocol: arcs at their medium resolution, at most two chapter cards, one text."""
    arcs = tuple(replace(arc, short=arc.medium[:_ARC_BULLETS], medium=(), long=(), chapter_names=())
                 for arc in book.arcs)  # fmt: skip
    first, second = book.chapters[:_CARDS]
    cards = (first, replace(second, scenes=(), text=""))
    return replace(book, arcs=arcs, chapters=cards, main_characters=(), side_characters=())


def _letters(texts: Iterable[str]) -> str:
    """Letters and digits only: what survives any layout."""
    return "".join(_OTHER.sub("", unicodedata.normalize("NFC", text)) for text in texts)
